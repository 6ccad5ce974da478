// System calls that Swift does not get from its Glibc module: those that glibc declares only under _GNU_SOURCE,
// and those that take a variable number of arguments. What returns an int returns 0, or the error number; none
// is restarted after EINTR.
#ifndef CLINUXIO_H
#define CLINUXIO_H

#include <stdbool.h>
#include <stdint.h>

/// Reserves space for the first `size_bytes` of a file without changing the file's size.
int clinuxio_reserve(int fd, int64_t size_bytes);

/// Starts writing a range's dirty pages to the disk and does not wait for them.
int clinuxio_start_writeback(int fd, int64_t offset, int64_t size_bytes);

/// Renames unless the new name exists (EEXIST). EINVAL or ENOSYS where that is not supported.
int clinuxio_rename_noreplace(const char *from, const char *to);

/// Neither a core file nor a look into the memory by others: RLIMIT_CORE 0, PR_SET_DUMPABLE 0.
int clinuxio_forbid_core_dumps(void);

/// Whether both hold.
bool clinuxio_core_dumps_are_forbidden(void);

#endif
