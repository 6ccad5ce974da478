// System calls that Swift does not get from its Glibc module: those that glibc declares only under _GNU_SOURCE,
// and those that take a variable number of arguments. What returns an int returns 0, or the error number; none
// is restarted after EINTR.
#ifndef CLINUXIO_H
#define CLINUXIO_H

#include <stdbool.h>
#include <stdint.h>

#include "CLinuxConfined.h"

/// Reserves space for the first `size_bytes` of a file without changing the file's size.
int clinuxio_reserve(int fd, int64_t size_bytes);

/// Starts writing a range's dirty pages to the disk and does not wait for them.
int clinuxio_start_writeback(int fd, int64_t offset, int64_t size_bytes);

/// Renames unless the new name exists (EEXIST). EINVAL or ENOSYS where that is not supported.
int clinuxio_rename_noreplace(const char *from, const char *to);

/// A file's pages, to ask which are in memory; its bytes are never looked at through it.
struct clinuxio_view;

/// NULL where the kernel would not tell the truth, or nothing at all, about this file's pages.
struct clinuxio_view *clinuxio_view_open(int fd, int64_t size_bytes);

/// Whether the whole of a range (not empty, within the size given to `clinuxio_view_open`) is there and in memory.
/// Waits neither for a disk nor for a file server.
bool clinuxio_view_has(const struct clinuxio_view *view, int64_t offset, int64_t count);

void clinuxio_view_close(struct clinuxio_view *view);

/// A number in the first eight bytes of a file, which all processes that map it see and change.
struct clinuxio_counter;

/// Makes the file long enough. NULL, with errno, when it cannot be had.
struct clinuxio_counter *clinuxio_counter_open(int fd);

int64_t clinuxio_counter_value(const struct clinuxio_counter *counter);
void clinuxio_counter_increment(struct clinuxio_counter *counter);
void clinuxio_counter_close(struct clinuxio_counter *counter);

/// Neither a core file nor a look into the memory by others: RLIMIT_CORE 0, PR_SET_DUMPABLE 0.
int clinuxio_forbid_core_dumps(void);

/// Whether both hold.
bool clinuxio_core_dumps_are_forbidden(void);

#endif
