/* What a program that a stranger's file has taken over could do. It stands in for `webml`: the
 * lines of the "data set" are its orders, and the JSON that it prints says what came of each:
 * "done", or the name of the error. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* Each order returns whether it was done, with errno where not. */
typedef bool attempt(const char *argument);

static bool closed(int fd) {
  if (fd >= 0) close(fd);
  return fd >= 0;
}

static bool read_file(const char *path) {
  char byte;
  int fd = open(path, O_RDONLY);
  bool ok = fd >= 0 && read(fd, &byte, 1) >= 0;
  int error = errno;
  closed(fd);
  errno = error;
  return ok;
}

static bool list_folder(const char *path) {
  DIR *d = opendir(path);
  if (d) closedir(d);
  return d != NULL;
}

static bool write_file(const char *path) {
  return closed(open(path, O_WRONLY | O_CREAT, 0600));
}

static bool make_link(const char *path) {
  const char *cache = getenv("WEBML_CACHE");
  char name[4096];
  snprintf(name, sizeof name, "%s/link", cache ? cache : "/tmp");
  return link(path, name) == 0;
}

static bool make_symbolic_link(const char *path) {
  const char *cache = getenv("WEBML_CACHE");
  char name[4096];
  snprintf(name, sizeof name, "%s/symbolic", cache ? cache : "/tmp");
  return symlink(path, name) == 0;
}

static bool change_mode(const char *path) {
  return chmod(path, 0777) == 0;
}

static bool cut_off(const char *path) {
  return truncate(path, 0) == 0;
}

static bool be_told(const char *path) {
  int fd = inotify_init();
  return fd >= 0 && inotify_add_watch(fd, path, IN_ALL_EVENTS) >= 0;
}

static bool connect_to(const char *port) {
  struct sockaddr_in to = {.sin_family = AF_INET,
                           .sin_port = htons((uint16_t)atoi(port)),
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  return fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
}

static bool open_socket(const char *kind) {
  if (strcmp(kind, "raw") == 0) return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0;
  if (strcmp(kind, "packet") == 0) return socket(AF_PACKET, SOCK_RAW, 0) >= 0;
  if (strcmp(kind, "netlink") == 0) return socket(AF_NETLINK, SOCK_RAW, 0) >= 0;
  if (strcmp(kind, "local-datagram") == 0) return socket(AF_UNIX, SOCK_DGRAM, 0) >= 0;
  return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
}

/* As the driver of a GPU does. */
static bool bind_local(const char *nothing) {
  (void)nothing;
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "intruder-%d", (int)getpid());
  int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
  return fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof name) == 0 && listen(fd, 1) == 0;
}

/* What a file can be shared through without a file system. */
static bool name_memory(const char *nothing) {
  (void)nothing;
  return closed(memfd_create("intruder", 0));
}

/* The server has started this process. */
static bool trace_server(const char *nothing) {
  (void)nothing;
  if (ptrace(PTRACE_ATTACH, getppid(), 0, 0) != 0) return false;
  waitpid(getppid(), NULL, __WALL);
  return ptrace(PTRACE_DETACH, getppid(), 0, 0) == 0;
}

static bool signal_server(const char *nothing) {
  (void)nothing;
  return kill(getppid(), 0) == 0;
}

static bool limit_server(const char *nothing) {
  (void)nothing;
  struct rlimit now;
  return prlimit(getppid(), RLIMIT_NOFILE, NULL, &now) == 0 &&
         prlimit(getppid(), RLIMIT_NOFILE, &now, NULL) == 0;
}

static bool read_server(const char *file) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%.20s", (int)getppid(), file);
  return read_file(path);
}

static bool raise_limit(const char *nothing) {
  (void)nothing;
  return setrlimit(RLIMIT_NOFILE, &(struct rlimit){4096, 4096}) == 0;
}

static bool map_memory(const char *gigabytes, int flags) {
  size_t bytes = (size_t)atoi(gigabytes) << 30;
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p != MAP_FAILED && munmap(p, bytes) == 0;
}

static bool allocate(const char *gigabytes) {
  return map_memory(gigabytes, MAP_PRIVATE);
}

static bool allocate_shared(const char *gigabytes) {
  return map_memory(gigabytes, MAP_SHARED);
}

static bool allocate_stack(const char *gigabytes) {
  return map_memory(gigabytes, MAP_PRIVATE | MAP_GROWSDOWN);
}

static bool write_terabyte(const char *nothing) {
  (void)nothing;
  char path[4096];
  snprintf(path, sizeof path, "%s/terabyte",
           getenv("WEBML_CACHE") ? getenv("WEBML_CACHE") : "/tmp");
  int fd = open(path, O_WRONLY | O_CREAT, 0600);
  bool ok = fd >= 0 && pwrite(fd, "x", 1, (off_t)1 << 40) == 1;
  int error = errno;
  unlink(path);
  errno = error;
  return ok;
}

static bool write_cache(const char *nothing) {
  (void)nothing;
  char path[4096], other[4096];
  snprintf(path, sizeof path, "%s/own", getenv("WEBML_CACHE"));
  snprintf(other, sizeof other, "%s/renamed", getenv("WEBML_CACHE"));
  return write_file(path) && rename(path, other) == 0 && read_file(other) && unlink(other) == 0;
}

static bool make_process(const char *nothing) {
  (void)nothing;
  pid_t pid = fork();
  if (pid == 0) _exit(0);
  return pid > 0 && waitpid(pid, NULL, 0) == pid;
}

static void *nothing_to_do(void *arg) {
  return arg;
}

static bool make_thread(const char *nothing) {
  (void)nothing;
  pthread_t thread;
  errno = pthread_create(&thread, NULL, nothing_to_do, NULL);
  return errno == 0 && pthread_join(thread, NULL) == 0;
}

static bool become(const char *program) {
  execl(program, program, (char *)NULL);
  return false;
}

static bool call_system(const char *name) {
  static const struct {
    const char *name;
    long number;
  } calls[] = {{"unshare", SYS_unshare},
               {"bpf", SYS_bpf},
               {"perf_event_open", SYS_perf_event_open},
               {"userfaultfd", SYS_userfaultfd},
               {"io_uring_setup", 425},
               {"keyctl", SYS_keyctl},
               {"add_key", SYS_add_key},
               {"process_vm_readv", SYS_process_vm_readv},
               {"pidfd_open", 434},
               {"mount", SYS_mount},
               {"setns", SYS_setns},
               {"chroot", SYS_chroot},
               {"pivot_root", SYS_pivot_root},
               {"swapon", SYS_swapon},
               {"reboot", SYS_reboot},
               {"init_module", SYS_init_module},
               {"kexec_load", SYS_kexec_load},
               {"shmget", SYS_shmget}};
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
    /* Arguments that come to nothing: what is asked is who says so, and how. */
    if (strcmp(calls[i].name, name) == 0) return syscall(calls[i].number, 0, 0, 0, 0, 0) >= 0;
  errno = EINVAL;
  return false;
}

static bool call_x32(const char *nothing) {
  (void)nothing;
#if defined __x86_64__
  return syscall(0x40000000 + SYS_getpid) >= 0;
#else
  errno = EPERM;
  return false;
#endif
}

static bool call_i386(const char *nothing) {
  (void)nothing;
#if defined __x86_64__
  long result = 20; /* getpid */
  __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
  errno = (int)-result;
  return result >= 0;
#else
  return kill(getpid(), SIGSYS) == 0;
#endif
}

static bool have_variable(const char *name) {
  errno = ENOENT;
  return getenv(name) != NULL;
}

static bool gain_privileges(const char *nothing) {
  (void)nothing;
  errno = EPERM;
  return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0;
}

static bool have_capability(const char *number) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct sets[2] = {0};
  int which = atoi(number);
  if (syscall(SYS_capget, &header, sets) != 0) return false;
  errno = EPERM;
  return (sets[which / 32].permitted >> which % 32) & 1;
}

static bool dump_core(const char *nothing) {
  (void)nothing;
  struct rlimit limit;
  errno = EPERM;
  return getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max != 0;
}

static bool outlive_server(const char *nothing) {
  (void)nothing;
  int score = 0;
  FILE *f = fopen("/proc/self/oom_score_adj", "r");
  if (f && fscanf(f, "%d", &score) != 1) score = 0;
  if (f) fclose(f);
  errno = EPERM;
  return score <= 0;
}

static bool spin(const char *nothing) {
  (void)nothing;
  while (pause() != 0) continue;
  return true;
}

static bool compute(const char *nothing) {
  (void)nothing;
  for (volatile uint64_t i = 1; i != 0; i++) continue;
  return true;
}

static bool sleep_for(const char *seconds) {
  return sleep((unsigned)atoi(seconds)) == 0;
}

static const struct {
  const char *order;
  attempt *run;
} attempts[] = {{"read", read_file},
                {"list", list_folder},
                {"write", write_file},
                {"link", make_link},
                {"symlink", make_symbolic_link},
                {"chmod", change_mode},
                {"truncate", cut_off},
                {"watch", be_told},
                {"connect", connect_to},
                {"socket", open_socket},
                {"bind-local", bind_local},
                {"memfd", name_memory},
                {"trace-server", trace_server},
                {"signal-server", signal_server},
                {"limit-server", limit_server},
                {"read-server", read_server},
                {"raise-limit", raise_limit},
                {"allocate", allocate},
                {"allocate-shared", allocate_shared},
                {"allocate-stack", allocate_stack},
                {"terabyte", write_terabyte},
                {"write-cache", write_cache},
                {"process", make_process},
                {"thread", make_thread},
                {"exec", become},
                {"call", call_system},
                {"x32", call_x32},
                {"i386", call_i386},
                {"variable", have_variable},
                {"gain-privileges", gain_privileges},
                {"capability", have_capability},
                {"dump-core", dump_core},
                {"outlive-server", outlive_server},
                {"spin", spin},
                {"compute", compute},
                {"sleep", sleep_for}};

/* Follows the orders in the file, one a line: a word and an argument. */
static void obey(const char *path, FILE *out) {
  char line[4096], argument[4096], order[64];
  const char *separator = "";
  FILE *f = fopen(path, "r");
  while (f && fgets(line, sizeof line, f)) {
    argument[0] = '\0';
    if (sscanf(line, "%63s %4095s", order, argument) < 1) continue;
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
      if (strcmp(attempts[i].order, order) != 0) continue;
      errno = 0;
      bool done = attempts[i].run(argument);
      fprintf(out, "%s\"%s\": \"%s\"", separator, order,
              done                     ? "done"
              : strerrorname_np(errno) ? strerrorname_np(errno)
                                       : "?");
      separator = ", ";
    }
  }
  if (f) fclose(f);
}

int main(int argc, char **argv) {
  const char *data = argc > 2 ? argv[2] : "";
  for (int i = 2; i + 1 < argc; i++)
    if (strcmp(argv[i], "--data") == 0) data = argv[i + 1];
  if (argc > 1 && strcmp(argv[1], "summary") == 0) {
    puts("{\"parameters\": 1, \"layers\": [], \"memory\": [{\"device\": \"cpu\", \"training\": "
         "{\"total\": 1000}},"
         " {\"device\": \"cuda:0\", \"training\": {\"total\": 1000}}]}");
    return 0;
  }
  printf("{\"event\": \"tried\", \"format\": \"csv\", ");
  obey(data, stdout);
  puts("}");
  return 0;
}
