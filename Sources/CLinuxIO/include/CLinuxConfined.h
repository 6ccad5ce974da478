// Programs that are given what users sent: started with nothing but some descriptors, limits and a system call filter.
#ifndef CLINUXCONFINED_H
#define CLINUXCONFINED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct clinuxio_program {
    /// An absolute path.
    const char *path;
    /// Ends with NULL, and begins with the program's name. The environment holds nothing of ours.
    char *const *arguments;
    /// What the program may read beside itself, its libraries above all; ends with NULL. Missing ones are left out.
    const char *const *readable_paths;
    /// What becomes its descriptors 0, 1, 2, 3, …; at least three. It has no others.
    const int *descriptors;
    size_t descriptor_count;
    /// Its limits (setrlimit(2)); the size is that of any file it writes.
    uint64_t memory_bytes;
    uint64_t cpu_seconds;
    uint64_t file_bytes;
};

/// Starts a program in a session and process group of its own, which it cannot leave. It
/// - is killed when the thread that calls this ends, so with this process, whatever ends that;
/// - can open nothing but `readable_paths` for reading and `descriptors` (through /proc/self/fd), where the kernel has
///   Landlock;
/// - cannot make sockets, nor signal or trace other processes, nor gain privileges.
///
/// Returns 0, or the number of the error that kept it from starting. The caller reaps the child.
int clinuxio_start_confined(const struct clinuxio_program *program, pid_t *child);

/// A descriptor that becomes readable when a child has ended; -1 where the kernel has none.
int clinuxio_open_process(pid_t child);

/// Whether a child has ended; it is not reaped.
bool clinuxio_has_ended(pid_t child);

/// A pipe whose ends other programs do not get: first the end to read, which does not block, then the other.
int clinuxio_open_pipe(int ends[2]);

/// Whether the kernel can keep a program from files.
bool clinuxio_can_confine_files(void);

/// A file without a name in a directory, for reading and writing: nothing is left of it when the last descriptor is
/// closed, whatever ends the process. Where that is not supported it has a name, below `directory` and beginning with
/// "unnamed-", for a moment.
int clinuxio_open_unnamed(const char *directory, int *fd);

#endif
