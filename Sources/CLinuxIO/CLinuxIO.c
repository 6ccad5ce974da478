#include "CLinuxIO.h"
int clinuxio_dummy(void) { return 0; }
