/* Preloaded into the server: counts what it does, in the file $COUNTS_FILE that the test maps too.
 * In this order, as 64-bit numbers:
 *
 *     allocations          calls of malloc, calloc, realloc and their kin
 *     allocated bytes      that they asked for
 *     copies               calls of memcpy and memmove that are calls: the compiler makes others of small ones
 *     copied bytes
 *     system calls         through libc's functions: those of input and output, files, memory and syscall(2)
 *
 * What libc does by itself is not seen: locks that have to wait, and memory that malloc gets. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ALLOCATIONS, ALLOCATED_BYTES, COPIES, COPIED_BYTES, SYSTEM_CALLS, KINDS };

static _Atomic uint64_t unseen[KINDS];
static _Atomic uint64_t *counts = unseen;

static void count(int kind, uint64_t number) { atomic_fetch_add_explicit(&counts[kind], number, memory_order_relaxed); }

/* Memory. dlsym allocates, so these go to libc by its own names. */

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static void allocated(size_t size) {
    count(ALLOCATIONS, 1);
    count(ALLOCATED_BYTES, size);
}

void *malloc(size_t size) {
    allocated(size);
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
    allocated(number * size);
    return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size) {
    allocated(size);
    return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size) {
    allocated(size);
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **place, size_t alignment, size_t size) {
    void *found = memalign(alignment, size);
    if (!found) return ENOMEM;
    *place = found;
    return 0;
}

/* Copies. */

static void *(*real_memcpy)(void *, const void *, size_t);
static void *(*real_memmove)(void *, const void *, size_t);

static void *slowly(void *to, const void *from, size_t size) {
    volatile char *target = to;
    const volatile char *source = from;
    if (target < source) {
        for (size_t i = 0; i < size; i++) target[i] = source[i];
    } else {
        for (size_t i = size; i > 0; i--) target[i - 1] = source[i - 1];
    }
    return to;
}

static void copied(size_t size) {
    count(COPIES, 1);
    count(COPIED_BYTES, size);
}

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    copied(size);
    return real_memcpy ? real_memcpy(to, from, size) : slowly(to, from, size);
}

void *memmove(void *to, const void *from, size_t size) {
    copied(size);
    return real_memmove ? real_memmove(to, from, size) : slowly(to, from, size);
}

/* System calls: CALL(type, name, parameters, arguments). */

#define CALL(type, name, parameters, arguments)                                   \
    type name parameters {                                                        \
        static __typeof__(type(*) parameters) real;                               \
        if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, #name);              \
        count(SYSTEM_CALLS, 1);                                                   \
        return real arguments;                                                    \
    }

CALL(ssize_t, read, (int fd, void *p, size_t n), (fd, p, n))
CALL(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n))
CALL(ssize_t, readv, (int fd, const struct iovec *v, int n), (fd, v, n))
CALL(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n))
CALL(ssize_t, pread, (int fd, void *p, size_t n, off_t o), (fd, p, n, o))
CALL(ssize_t, pread64, (int fd, void *p, size_t n, off_t o), (fd, p, n, o))
CALL(ssize_t, pwrite, (int fd, const void *p, size_t n, off_t o), (fd, p, n, o))
CALL(ssize_t, pwrite64, (int fd, const void *p, size_t n, off_t o), (fd, p, n, o))
CALL(ssize_t, pwritev, (int fd, const struct iovec *v, int n, off_t o), (fd, v, n, o))
CALL(ssize_t, recv, (int fd, void *p, size_t n, int f), (fd, p, n, f))
CALL(ssize_t, send, (int fd, const void *p, size_t n, int f), (fd, p, n, f))
CALL(ssize_t, recvmsg, (int fd, struct msghdr *m, int f), (fd, m, f))
CALL(ssize_t, sendmsg, (int fd, const struct msghdr *m, int f), (fd, m, f))
CALL(ssize_t, sendfile, (int to, int from, off_t *o, size_t n), (to, from, o, n))
CALL(int, epoll_wait, (int fd, struct epoll_event *e, int n, int t), (fd, e, n, t))
CALL(int, epoll_ctl, (int fd, int op, int of, struct epoll_event *e), (fd, op, of, e))
CALL(int, close, (int fd), (fd))
CALL(int, fsync, (int fd), (fd))
CALL(int, fdatasync, (int fd), (fd))
CALL(int, sync_file_range, (int fd, off64_t o, off64_t n, unsigned f), (fd, o, n, f))
CALL(int, fallocate, (int fd, int m, off_t o, off_t n), (fd, m, o, n))
CALL(int, ftruncate, (int fd, off_t n), (fd, n))
CALL(off_t, lseek, (int fd, off_t o, int w), (fd, o, w))
CALL(int, stat, (const char *p, struct stat *s), (p, s))
CALL(int, lstat, (const char *p, struct stat *s), (p, s))
CALL(int, fstat, (int fd, struct stat *s), (fd, s))
CALL(int, access, (const char *p, int m), (p, m))
CALL(int, unlink, (const char *p), (p))
CALL(int, rename, (const char *a, const char *b), (a, b))
CALL(int, renameat2, (int x, const char *a, int y, const char *b, unsigned f), (x, a, y, b, f))
CALL(void *, mmap, (void *a, size_t n, int p, int f, int fd, off_t o), (a, n, p, f, fd, o))
CALL(int, munmap, (void *a, size_t n), (a, n))
CALL(int, madvise, (void *a, size_t n, int w), (a, n, w))
CALL(int, mincore, (void *a, size_t n, unsigned char *v), (a, n, v))
CALL(int, posix_fadvise, (int fd, off_t o, off_t n, int a), (fd, o, n, a))
CALL(ssize_t, readahead, (int fd, off64_t o, size_t n), (fd, o, n))

/* Those with an argument that is there or not. */

#define OPEN(name, before, arguments)                                             \
    int name before {                                                             \
        static int(*real) before;                                                 \
        if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, #name);              \
        mode_t mode = 0;                                                          \
        va_list rest;                                                             \
        va_start(rest, flags);                                                    \
        if (flags & (O_CREAT | __O_TMPFILE)) mode = va_arg(rest, mode_t);         \
        va_end(rest);                                                             \
        count(SYSTEM_CALLS, 1);                                                   \
        return real arguments;                                                    \
    }

OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode))
OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode))

int fcntl(int fd, int command, ...) {
    static int (*real)(int, int, ...);
    if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, "fcntl");
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    count(SYSTEM_CALLS, 1);
    return real(fd, command, argument);
}

long syscall(long number, ...) {
    static long (*real)(long, ...);
    if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, "syscall");
    va_list rest;
    va_start(rest, number);
    long a[6];
    for (int i = 0; i < 6; i++) a[i] = va_arg(rest, long);
    va_end(rest);
    count(SYSTEM_CALLS, 1);
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

__attribute__((constructor)) static void begin(void) {
    real_memcpy = (__typeof__(real_memcpy))dlsym(RTLD_NEXT, "memcpy");
    real_memmove = (__typeof__(real_memmove))dlsym(RTLD_NEXT, "memmove");
    const char *path = getenv("COUNTS_FILE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *shared = mmap(NULL, sizeof unseen, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (shared != MAP_FAILED) counts = shared;
}
