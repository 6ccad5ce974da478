/* Preloaded into the server: makes the system calls on files below $STORE_FAULTS_BELOW slow, or fail.
 * What to do stands in the directory $STORE_FAULTS_CONTROL and is looked at on every call:
 *
 *     slow        milliseconds that each call takes longer
 *     fail-CALL   a pattern (fnmatch(3)); the first CALL on a path it matches fails with EIO, and
 *                 removes the file, so a test can see that the fault was there
 *     hold-CALL   a pattern; each such CALL waits until the file is gone
 *
 * CALL is one of pwritev, pread, fsync, unlink, renameat2. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void pause_ms(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) == -1 && errno == EINTR) {}
}

/* By raw system calls: the wrappers below would ask again. */
static int control(const char *kind, const char *call, char *text, size_t size, char *path) {
    const char *directory = getenv("STORE_FAULTS_CONTROL");
    if (!directory) return 0;
    snprintf(path, PATH_MAX, "%s/%s%s", directory, kind, call);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    ssize_t count = syscall(SYS_read, fd, text, size - 1);
    syscall(SYS_close, fd);
    text[count < 0 ? 0 : count] = 0;
    return 1;
}

/* Whether the call is to fail. */
static int fault(const char *call, const char *path) {
    const char *below = getenv("STORE_FAULTS_BELOW");
    if (!below || strncmp(path, below, strlen(below)) != 0) return 0;
    char text[PATH_MAX], file[PATH_MAX];
    while (control("hold-", call, text, sizeof text, file) && fnmatch(text, path, 0) == 0) pause_ms(5);
    if (control("slow", "", text, sizeof text, file)) pause_ms(atol(text));
    if (control("fail-", call, text, sizeof text, file) && fnmatch(text, path, 0) == 0)
        return syscall(SYS_unlinkat, AT_FDCWD, file, 0) == 0; /* of several threads one */
    return 0;
}

static int fault_of(const char *call, int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t count = readlink(link, path, sizeof path - 1);
    if (count < 0) return 0;
    path[count] = 0;
    return fault(call, path);
}

#define OR_FAIL(failed) \
    if (failed) { errno = EIO; return -1; }

ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t offset) {
    OR_FAIL(fault_of("pwritev", fd))
    return REAL(pwritev)(fd, pieces, count, offset);
}

ssize_t pread(int fd, void *space, size_t size, off_t offset) {
    OR_FAIL(fault_of("pread", fd))
    return REAL(pread)(fd, space, size, offset);
}

int fsync(int fd) {
    OR_FAIL(fault_of("fsync", fd))
    return REAL(fsync)(fd);
}

int unlink(const char *path) {
    OR_FAIL(fault("unlink", path))
    return REAL(unlink)(path);
}

int renameat2(int from_directory, const char *from, int to_directory, const char *to, unsigned flags) {
    OR_FAIL(fault("renameat2", to))
    return REAL(renameat2)(from_directory, from, to_directory, to, flags);
}
