#define _GNU_SOURCE
#include "CLinuxIO.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

int clinuxio_reserve(int fd, int64_t size_bytes) {
    return fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size_bytes) == 0 ? 0 : errno;
}

int clinuxio_start_writeback(int fd, int64_t offset, int64_t size_bytes) {
    return sync_file_range(fd, offset, size_bytes, SYNC_FILE_RANGE_WRITE) == 0 ? 0 : errno;
}

int clinuxio_rename_noreplace(const char *from, const char *to) {
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0 ? 0 : errno;
}
