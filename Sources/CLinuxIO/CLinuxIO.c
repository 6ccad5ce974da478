#define _GNU_SOURCE
#include "CLinuxIO.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

int clinuxio_reserve(int fd, int64_t size_bytes) {
    return fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size_bytes) == 0 ? 0 : errno;
}

int clinuxio_start_writeback(int fd, int64_t offset, int64_t size_bytes) {
    return sync_file_range(fd, offset, size_bytes, SYNC_FILE_RANGE_WRITE) == 0 ? 0 : errno;
}

int clinuxio_rename_noreplace(const char *from, const char *to) {
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0 ? 0 : errno;
}

struct clinuxio_view {
    int fd;
    int64_t size_bytes;
    int64_t page_bytes;
    unsigned char *pages;
};

struct clinuxio_view *clinuxio_view_open(int fd, int64_t size_bytes) {
    struct stat status;
    if (size_bytes <= 0 || fstat(fd, &status) != 0) return NULL;
    // Of files of others mincore(2) says that everything is in memory.
    if (status.st_uid != geteuid() && geteuid() != 0) return NULL;
    struct clinuxio_view *view = malloc(sizeof *view);
    if (view == NULL) return NULL;
    *view = (struct clinuxio_view){fd, size_bytes, sysconf(_SC_PAGESIZE), NULL};
    void *pages = mmap(NULL, (size_t)size_bytes, PROT_NONE, MAP_SHARED, fd, 0);
    if (pages == MAP_FAILED) {
        free(view);
        return NULL;
    }
    view->pages = pages;
    return view;
}

bool clinuxio_view_has(const struct clinuxio_view *view, int64_t offset, int64_t count) {
    if (offset < 0 || count <= 0 || offset > view->size_bytes - count) return false;
    const int64_t end = offset + count;
    struct statx status;
    if (statx(view->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_SIZE, &status) != 0) return false;
    if (status.stx_size < (uint64_t)end) return false;
    unsigned char resident[1024];
    int64_t position = offset - offset % view->page_bytes;
    while (position < end) {
        const int64_t left = (end - position + view->page_bytes - 1) / view->page_bytes;
        const int64_t pages = left < (int64_t)sizeof resident ? left : (int64_t)sizeof resident;
        if (mincore(view->pages + position, (size_t)(pages * view->page_bytes), resident) != 0) return false;
        for (int64_t page = 0; page < pages; page++) {
            if ((resident[page] & 1) == 0) return false;
        }
        position += pages * view->page_bytes;
    }
    return true;
}

void clinuxio_view_close(struct clinuxio_view *view) {
    munmap(view->pages, (size_t)view->size_bytes);
    free(view);
}

struct clinuxio_counter {
    int64_t value;
};

struct clinuxio_counter *clinuxio_counter_open(int fd) {
    struct stat status;
    if (fstat(fd, &status) != 0) return NULL;
    const struct clinuxio_counter zero = {0};
    const ssize_t size = sizeof zero;
    // Written, so that a disk without room is found now and not by a page that cannot be changed.
    if (status.st_size < size) {
        const ssize_t written = pwrite(fd, &zero, (size_t)size, 0);
        if (written != size) {
            if (written >= 0) errno = ENOSPC;
            return NULL;
        }
    }
    void *place = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return place == MAP_FAILED ? NULL : place;
}

int64_t clinuxio_counter_value(const struct clinuxio_counter *counter) {
    return __atomic_load_n(&counter->value, __ATOMIC_ACQUIRE);
}

void clinuxio_counter_increment(struct clinuxio_counter *counter) {
    __atomic_add_fetch(&counter->value, 1, __ATOMIC_ACQ_REL);
}

void clinuxio_counter_close(struct clinuxio_counter *counter) { munmap(counter, sizeof *counter); }

int clinuxio_forbid_core_dumps(void) {
    const struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0) return errno;
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : errno;
}

bool clinuxio_core_dumps_are_forbidden(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max == 0 && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0;
}
