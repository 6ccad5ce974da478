// System calls that glibc declares only under _GNU_SOURCE, which Swift's Glibc module does not set.
// Each returns 0, or the error number; none is restarted after EINTR.
#ifndef CLINUXIO_H
#define CLINUXIO_H

#include <stdint.h>

/// Reserves space for the first `size_bytes` of a file without changing the file's size.
int clinuxio_reserve(int fd, int64_t size_bytes);

/// Starts writing a range's dirty pages to the disk and does not wait for them.
int clinuxio_start_writeback(int fd, int64_t offset, int64_t size_bytes);

/// Renames unless the new name exists (EEXIST). EINVAL or ENOSYS where that is not supported.
int clinuxio_rename_noreplace(const char *from, const char *to);

#endif
