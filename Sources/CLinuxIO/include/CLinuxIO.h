#ifndef CLINUXIO_H
#define CLINUXIO_H
int clinuxio_dummy(void);
#endif
