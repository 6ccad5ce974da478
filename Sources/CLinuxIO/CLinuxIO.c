#define _GNU_SOURCE
#include "CLinuxIO.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>

int clinuxio_reserve(int fd, int64_t size_bytes) {
    return fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size_bytes) == 0 ? 0 : errno;
}

int clinuxio_start_writeback(int fd, int64_t offset, int64_t size_bytes) {
    return sync_file_range(fd, offset, size_bytes, SYNC_FILE_RANGE_WRITE) == 0 ? 0 : errno;
}

int clinuxio_rename_noreplace(const char *from, const char *to) {
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0 ? 0 : errno;
}

int clinuxio_forbid_core_dumps(void) {
    const struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0) return errno;
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : errno;
}

bool clinuxio_core_dumps_are_forbidden(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max == 0 && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0;
}
