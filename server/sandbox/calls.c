/* seccomp: a list of what such a program never asks of the system. A list of what it may ask would
 * be shorter to attack and impossible to keep: the C library, OpenMP and CUDA's driver change it
 * with every version. */
#define _GNU_SOURCE /* syscall */
#include "kernel.h"
#include "steps.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined __x86_64__
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#define ARCHITECTURE 0 /* kernel_seccomp() says no */
#endif

/* Calls that only one of the architectures has. */
enum { ABSENT = -1 };
#ifndef __NR_fork
#define __NR_fork ABSENT
#define __NR_vfork ABSENT
#define __NR_chmod ABSENT
#define __NR_chown ABSENT
#define __NR_lchown ABSENT
#define __NR_utime ABSENT
#define __NR_utimes ABSENT
#define __NR_futimesat ABSENT
#define __NR_link ABSENT
#define __NR_symlink ABSENT
#define __NR_mknod ABSENT
#define __NR_inotify_init ABSENT
#endif
#ifndef __NR_iopl
#define __NR_iopl ABSENT
#define __NR_ioperm ABSENT
#define __NR_modify_ldt ABSENT
#define __NR_uselib ABSENT
#endif
#define CALL(name) __NR_##name

/* Numbers from 424 on are the same everywhere; headers may be older than the kernel. */
static const int never[] = {
    /* other processes */
    CALL(process_vm_readv), CALL(process_vm_writev), CALL(kcmp), CALL(tkill), CALL(migrate_pages),
    CALL(move_pages), 424 /* pidfd_send_signal */, 434 /* pidfd_open */, 438 /* pidfd_getfd */,
    440 /* process_madvise */, 448 /* process_mrelease */,
    /* other programs */
    CALL(execveat), CALL(uselib),
    /* where it is: mounts, roots, namespaces */
    CALL(mount), CALL(umount2), CALL(pivot_root), CALL(chroot), CALL(setns), CALL(unshare),
    428 /* open_tree */, 429 /* move_mount */, 430 /* fsopen */, 431 /* fsconfig */,
    432 /* fsmount */, 433 /* fspick */, 442 /* mount_setattr */, 467 /* open_tree_attr */,
    /* the machine */
    CALL(reboot), CALL(kexec_load), CALL(kexec_file_load), CALL(init_module), CALL(finit_module),
    CALL(delete_module), CALL(swapon), CALL(swapoff), CALL(acct), CALL(syslog), CALL(vhangup),
    CALL(sethostname), CALL(setdomainname), CALL(settimeofday), CALL(clock_settime),
    CALL(clock_adjtime), CALL(adjtimex), CALL(quotactl), 443 /* quotactl_fd */, CALL(iopl),
    CALL(ioperm), CALL(modify_ldt), CALL(nfsservctl), CALL(lookup_dcookie),
    /* large parts of the kernel in which faults have been found */
    CALL(bpf), CALL(perf_event_open), CALL(userfaultfd), 425 /* io_uring_setup */,
    426 /* io_uring_enter */, 427 /* io_uring_register */, CALL(add_key), CALL(request_key),
    CALL(keyctl), CALL(vmsplice), CALL(remap_file_pages), 447 /* memfd_secret */,
    /* memory that outlives it, and that no limit counts */
    CALL(shmget), CALL(shmat), CALL(shmctl), CALL(shmdt), CALL(semget), CALL(semctl), CALL(semop),
    CALL(semtimedop), CALL(msgget), CALL(msgsnd), CALL(msgrcv), CALL(msgctl), CALL(mq_open),
    CALL(mq_unlink),
    /* files that Landlock does not know to be closed: owners, modes, times, names that appear; and
     * what the server would follow or wait for when it reads a folder that was written */
    CALL(chmod), CALL(fchmod), CALL(fchmodat), 452 /* fchmodat2 */, CALL(chown), CALL(fchown),
    CALL(lchown), CALL(fchownat), CALL(utime), CALL(utimes), CALL(futimesat), CALL(utimensat),
    CALL(setxattr), CALL(lsetxattr), CALL(fsetxattr), CALL(removexattr), CALL(lremovexattr),
    CALL(fremovexattr), 463 /* setxattrat */, 466 /* removexattrat */, 469 /* file_setattr */,
    CALL(truncate), CALL(symlink), CALL(symlinkat), CALL(link), CALL(linkat), CALL(mknod),
    CALL(mknodat), CALL(inotify_init), CALL(inotify_init1), CALL(inotify_add_watch),
    CALL(fanotify_init), CALL(name_to_handle_at), CALL(open_by_handle_at)};

/* Making processes and looking into them: a sanitizer does. */
static const int never_but_sanitizers[] = {CALL(fork), CALL(vfork), CALL(ptrace),
                                           CALL(personality)};

/* Without a network. */
static const int never_offline[] = {CALL(connect), CALL(sendmmsg), CALL(recvmmsg)};
/* Without a GPU, whose driver passes descriptors through sockets of its own. */
static const int never_alone[] = {CALL(bind),    CALL(listen), CALL(accept),
                                  CALL(accept4), CALL(socket), CALL(socketpair)};

/* ---- the filter ---- */

enum { MOST_INSTRUCTIONS = 1024 };

typedef struct filter {
  struct sock_filter code[MOST_INSTRUCTIONS];
  unsigned short n;
} filter;

#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offset))
#define LOAD_NUMBER LOAD(offsetof(struct seccomp_data, nr))
/* The lower half, on a little-endian machine: the kernel takes an int of these arguments. */
#define LOAD_ARGUMENT(i) LOAD(offsetof(struct seccomp_data, args) + 8 * (size_t)(i))
#define IF_EQUAL(value, then, otherwise)                                                           \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), then, otherwise)
#define IF_AT_LEAST(value, then, otherwise)                                                        \
  BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)(value), then, otherwise)
#define MASK(bits) BPF_STMT(BPF_ALU | BPF_AND | BPF_K, (uint32_t)(bits))
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, (uint32_t)(action))
#define ALLOW SECCOMP_RET_ALLOW
#define REFUSE(error) (SECCOMP_RET_ERRNO | (uint32_t)(error))

#define PUT(f, ...)                                                                                \
  put(f, (const struct sock_filter[]){__VA_ARGS__},                                                \
      sizeof((const struct sock_filter[]){__VA_ARGS__}) / sizeof(struct sock_filter))

static void put(filter *f, const struct sock_filter *code, size_t n) {
  for (size_t i = 0; i < n && f->n < MOST_INSTRUCTIONS; i++) f->code[f->n++] = code[i];
}

/* Other tables of calls than the one whose numbers are known here. */
static void begin(filter *f) {
  PUT(f, LOAD(offsetof(struct seccomp_data, arch)), IF_EQUAL(ARCHITECTURE, 1, 0),
      RETURN(SECCOMP_RET_KILL_PROCESS), LOAD_NUMBER);
#if defined __x86_64__
  PUT(f, IF_AT_LEAST(0x40000000, 0, 1), RETURN(REFUSE(EPERM))); /* x32 */
#endif
}

static void refuse(filter *f, int number, int error) {
  if (number != ABSENT) PUT(f, IF_EQUAL(number, 0, 1), RETURN(REFUSE(error)));
}

static void refuse_all(filter *f, const int *list, size_t n) {
  for (size_t i = 0; i < n; i++) refuse(f, list[i], EPERM);
}
#define REFUSE_ALL(f, list) refuse_all(f, list, sizeof list / sizeof *list)

/* What is to be done with a call one of whose arguments, masked, has this value. Others go on. */
static void answer_if(filter *f, int number, int argument, uint32_t mask, uint32_t value,
                      uint32_t answer) {
  PUT(f, IF_EQUAL(number, 0, 5), LOAD_ARGUMENT(argument), MASK(mask), IF_EQUAL(value, 0, 1),
      RETURN(answer), LOAD_NUMBER);
}

static void refuse_unless(filter *f, int number, int argument, uint32_t mask, uint32_t value) {
  answer_if(f, number, argument, mask, value, ALLOW);
  refuse(f, number, EPERM);
}

/* ---- what depends on arguments ---- */

/* exec() keeps the process's number. */
static void keep_to_itself(filter *f) {
  const uint32_t all = UINT32_MAX, self = (uint32_t)getpid();
  answer_if(f, CALL(kill), 0, all, 0, ALLOW);
  refuse_unless(f, CALL(kill), 0, all, self);
  refuse_unless(f, CALL(tgkill), 0, all, self);
  refuse_unless(f, CALL(rt_sigqueueinfo), 0, all, self);
  refuse_unless(f, CALL(rt_tgsigqueueinfo), 0, all, self);
  /* 0: the caller. Of processes of the same user all of these take any. */
  refuse_unless(f, CALL(prlimit64), 0, all, 0);
  refuse_unless(f, CALL(setpriority), 1, all, 0);
  refuse_unless(f, CALL(ioprio_set), 1, all, 0);
  refuse_unless(f, CALL(sched_setparam), 0, all, 0);
  refuse_unless(f, CALL(sched_setscheduler), 0, all, 0);
  refuse_unless(f, CALL(sched_setattr), 0, all, 0);
  refuse_unless(f, CALL(sched_setaffinity), 0, all, 0);
  /* Signals about a descriptor go to whomever it is said to belong to. */
  enum { SET_OWNER = 8, SET_SIGNAL = 10, SET_OWNER_EX = 15 };
  answer_if(f, CALL(fcntl), 1, all, SET_OWNER, REFUSE(EPERM));
  answer_if(f, CALL(fcntl), 1, all, SET_SIGNAL, REFUSE(EPERM));
  answer_if(f, CALL(fcntl), 1, all, SET_OWNER_EX, REFUSE(EPERM));
  enum { SET_FILE_OWNER = 0x8901, SET_SOCKET_OWNER = 0x8902, TYPE = 0x5412, TO_CONSOLE = 0x541c };
  answer_if(f, CALL(ioctl), 1, all, SET_FILE_OWNER, REFUSE(EPERM));
  answer_if(f, CALL(ioctl), 1, all, SET_SOCKET_OWNER, REFUSE(EPERM));
  answer_if(f, CALL(ioctl), 1, all, TYPE, REFUSE(EPERM));
  answer_if(f, CALL(ioctl), 1, all, TO_CONSOLE, REFUSE(EPERM));
}

/* Threads, but no processes. The flags of clone3() are in memory, where a filter cannot see them;
 * the C library takes clone() where there is no clone3(). */
static void keep_to_one_process(filter *f) {
  refuse(f, 435 /* clone3 */, ENOSYS);
  if (STEPS_SANITIZED) return;
  refuse_unless(f, CALL(clone), 0, CLONE_THREAD, CLONE_THREAD);
}

/* Shared memory without a file, and stacks that grow, are not counted by RLIMIT_DATA. */
static void keep_to_counted_memory(filter *f) {
  if (STEPS_SANITIZED) return;
  refuse(f, CALL(memfd_create), EPERM);
  answer_if(f, CALL(mmap), 3, MAP_GROWSDOWN, MAP_GROWSDOWN, REFUSE(EPERM));
  answer_if(f, CALL(mmap), 3, MAP_ANONYMOUS | MAP_SHARED | MAP_PRIVATE, MAP_ANONYMOUS | MAP_SHARED,
            REFUSE(EPERM));
}

/* CUDA's driver binds a connected kind of local socket to an abstract name. A kind that is not
 * connected could send to anybody's. */
static void keep_to_local_sockets(filter *f) {
  const int makers[] = {CALL(socket), CALL(socketpair)};
  for (int i = 0; i < 2; i++) {
    answer_if(f, makers[i], 1, 0xf, SOCK_DGRAM, REFUSE(EPERM));
    answer_if(f, makers[i], 1, 0xf, SOCK_RAW, REFUSE(EPERM));
    refuse_unless(f, makers[i], 0, UINT32_MAX, AF_UNIX);
  }
}

static void keep_off_the_network(filter *f, bool gpu) {
  REFUSE_ALL(f, never_offline);
  if (gpu)
    keep_to_local_sockets(f);
  else
    REFUSE_ALL(f, never_alone);
}

const char *restrict_calls(const confinement *c) {
  if (!kernel_seccomp()) return NULL;
  filter f = {.n = 0};
  begin(&f);
  REFUSE_ALL(&f, never);
  if (!STEPS_SANITIZED) REFUSE_ALL(&f, never_but_sanitizers);
  if (!c->network) keep_off_the_network(&f, c->gpu);
  keep_to_itself(&f);
  keep_to_one_process(&f);
  if (!c->gpu) keep_to_counted_memory(&f);
  PUT(&f, RETURN(ALLOW));
  const struct sock_fprog program = {.len = f.n, .filter = f.code};
  if (f.n == MOST_INSTRUCTIONS) return "seccomp";
  /* Kernels before 5.16 otherwise switch a speculation off that costs computing some per cent; the
   * secrets that it guards are of other programs in the same process, of which there are none. */
  const unsigned long flags = SECCOMP_FILTER_FLAG_SPEC_ALLOW;
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) == 0 ? NULL : "seccomp";
}
