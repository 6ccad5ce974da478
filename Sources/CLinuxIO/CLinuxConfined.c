#define _GNU_SOURCE
#include "CLinuxConfined.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// What follows runs between fork(2) and execve(2), in a copy of a process that had many threads: system calls and the
// stack alone, no locks and no memory from the heap.

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the system call filter does not know this architecture"
#endif

#define DENY(number) \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)

static int filter_system_calls(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#if defined(__x86_64__)
        // The numbers of the x32 ABI name the same calls once more.
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
#endif
        DENY(SYS_socket),
        DENY(SYS_socketpair),
        DENY(SYS_io_uring_setup),
        DENY(SYS_setsid),
        DENY(SYS_setpgid),
        DENY(SYS_kill),
        DENY(SYS_tkill),
        DENY(SYS_tgkill),
        DENY(SYS_rt_sigqueueinfo),
        DENY(SYS_rt_tgsigqueueinfo),
        DENY(SYS_pidfd_open),
        DENY(SYS_pidfd_send_signal),
        DENY(SYS_pidfd_getfd),
        DENY(SYS_ptrace),
        DENY(SYS_process_vm_readv),
        DENY(SYS_process_vm_writev),
        DENY(SYS_sched_setscheduler),
        DENY(SYS_setpriority),
        DENY(SYS_unshare),
        DENY(SYS_setns),
        DENY(SYS_mount),
        DENY(SYS_umount2),
        DENY(SYS_chroot),
        DENY(SYS_pivot_root),
        DENY(SYS_mknodat),
        DENY(SYS_bpf),
        DENY(SYS_perf_event_open),
        DENY(SYS_userfaultfd),
        DENY(SYS_keyctl),
        DENY(SYS_add_key),
        DENY(SYS_request_key),
        DENY(SYS_init_module),
        DENY(SYS_finit_module),
        DENY(SYS_kexec_load),
        DENY(SYS_reboot),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0 ? 0 : errno;
}

#define MAY_READ (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
// Since version 3 of the interface, and not in the headers of Debian 12.
#define MAY_TRUNCATE (1ULL << 14)

static int landlock_version(void) {
    return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

static int add_rule(int ruleset, int fd, uint64_t access) {
    const struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
    return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0 ? 0 : errno;
}

static int add_path(int ruleset, const char *path, uint64_t access) {
    const int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? 0 : errno;
    int code = add_rule(ruleset, fd, access);
    // Of what is no directory nothing can be listed.
    if (code == EINVAL) code = add_rule(ruleset, fd, access & ~(uint64_t)LANDLOCK_ACCESS_FS_READ_DIR);
    close(fd);
    return code;
}

static int confine_files(const struct clinuxio_program *program) {
    const int version = landlock_version();
    if (version < 1) return 0;
    const uint64_t truncate = version >= 3 ? MAY_TRUNCATE : 0;
    struct landlock_ruleset_attr attributes = {0};
    // All that there is in the first version, and what came since.
    attributes.handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
    if (version >= 2) attributes.handled_access_fs |= LANDLOCK_ACCESS_FS_REFER;
    attributes.handled_access_fs |= truncate;
    const int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0);
    if (ruleset < 0) return errno;
    int code = add_path(ruleset, program->path, MAY_READ);
    for (size_t index = 0; code == 0 && program->readable_paths[index] != NULL; index++) {
        code = add_path(ruleset, program->readable_paths[index], MAY_READ);
    }
    // Whoever wants to know what a file system can do tries it there.
    if (code == 0) code = add_path(ruleset, "/dev/null", LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE);
    for (size_t index = 3; code == 0 && index < program->descriptor_count; index++) {
        const int mode = fcntl((int)index, F_GETFL) & O_ACCMODE;
        const uint64_t write = LANDLOCK_ACCESS_FS_WRITE_FILE | truncate;
        code = add_rule(ruleset, (int)index, LANDLOCK_ACCESS_FS_READ_FILE | (mode == O_RDONLY ? 0 : write));
    }
    if (code == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) code = errno;
    close(ruleset);
    return code;
}

static int limit(int what, uint64_t value) {
    const struct rlimit both = {value, value};
    return setrlimit(what, &both) == 0 ? 0 : errno;
}

/// Moves the descriptors to where they belong and closes all others, but for `report`, which goes behind them.
static int place_descriptors(const struct clinuxio_program *program, int *report) {
    enum { maximum = 16 };
    int moved[maximum];
    const int count = (int)program->descriptor_count;
    if (count < 3 || count > maximum) return EINVAL;
    const int moved_report = fcntl(*report, F_DUPFD_CLOEXEC, 2 * maximum);
    if (moved_report < 0) return errno;
    for (int index = 0; index < count; index++) {
        moved[index] = fcntl(program->descriptors[index], F_DUPFD_CLOEXEC, 2 * maximum);
        if (moved[index] < 0) return errno;
    }
    for (int index = 0; index < count; index++) {
        if (dup2(moved[index], index) < 0) return errno;
    }
    if (dup3(moved_report, count, O_CLOEXEC) < 0) return errno;
    *report = count;
    return close_range((unsigned)count + 1, ~0U, 0) == 0 ? 0 : errno;
}

static int become(const struct clinuxio_program *program, pid_t parent, int *report) {
    int code;
    if (setsid() < 0) return errno;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return errno;
    if (getppid() != parent) return ESRCH;
    for (int signal_number = 1; signal_number < NSIG; signal_number++) signal(signal_number, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) != 0) return errno;
    if ((code = place_descriptors(program, report)) != 0) return code;
    if (chdir("/") != 0) return errno;
    umask(077);
    if ((code = limit(RLIMIT_CORE, 0)) != 0) return code;
    if ((code = limit(RLIMIT_AS, program->memory_bytes)) != 0) return code;
    if ((code = limit(RLIMIT_CPU, program->cpu_seconds)) != 0) return code;
    if ((code = limit(RLIMIT_FSIZE, program->file_bytes)) != 0) return code;
    if ((code = limit(RLIMIT_NOFILE, 64)) != 0) return code;
    // The size of each thread's stack, too, which counts as memory whether it is used or not.
    if ((code = limit(RLIMIT_STACK, 2 << 20)) != 0) return code;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
    if ((code = confine_files(program)) != 0) return code;
    if ((code = filter_system_calls()) != 0) return code;
    // One heap for all threads: others would take 64 MiB of the limit each, used or not.
    char *const environment[] = {"MALLOC_ARENA_MAX=1", NULL};
    execve(program->path, program->arguments, environment);
    return errno;
}

int clinuxio_start_confined(const struct clinuxio_program *program, pid_t *child) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return errno;
    // Nothing of this process may run in the child before its signal handlers are gone.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid == 0) {
        int report = ends[1];
        const int code = become(program, parent, &report);
        (void)!write(report, &code, sizeof code);
        _exit(127);
    }
    const int fork_error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return fork_error;
    }
    // Closed by execve(2), or by the end: then nothing comes.
    int code = 0;
    ssize_t count;
    do count = read(ends[0], &code, sizeof code);
    while (count < 0 && errno == EINTR);
    close(ends[0]);
    if (count == 0) {
        *child = pid;
        return 0;
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
    return count == (ssize_t)sizeof code ? code : EIO;
}

int clinuxio_open_process(pid_t child) { return (int)syscall(SYS_pidfd_open, child, 0); }

bool clinuxio_has_ended(pid_t child) {
    siginfo_t information = {0};
    if (waitid(P_PID, (id_t)child, &information, WEXITED | WNOHANG | WNOWAIT) != 0) return errno == ECHILD;
    return information.si_pid == child;
}

int clinuxio_open_pipe(int ends[2]) {
    if (pipe2(ends, O_CLOEXEC) != 0) return errno;
    if (fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0) return 0;
    const int code = errno;
    close(ends[0]);
    close(ends[1]);
    return code;
}

bool clinuxio_can_confine_files(void) { return landlock_version() >= 1; }

int clinuxio_open_unnamed(const char *directory, int *fd) {
    *fd = open(directory, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
    if (*fd >= 0) return 0;
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) return errno;
    char *name;
    if (asprintf(&name, "%s/unnamed-XXXXXX", directory) < 0) return ENOMEM;
    *fd = mkostemp(name, O_CLOEXEC);
    int code = *fd < 0 ? errno : 0;
    // A server that starts beside this one takes away what it finds.
    if (code == 0 && unlink(name) != 0 && errno != ENOENT) {
        code = errno;
        close(*fd);
    }
    free(name);
    return code;
}
