/* Landlock. What is not opened up here is closed, whoever owns the process: the store, the key that
 * signs tokens, other people's data sets and jobs, and the homes of the machine. */
#define _GNU_SOURCE /* O_PATH, dl_iterate_phdr */
#include "kernel.h"
#include "steps.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of newer kernels than the headers may be of. */
#define FS_REFER (1ULL << 13)      /* version 2 */
#define FS_TRUNCATE (1ULL << 14)   /* 3 */
#define FS_IOCTL_DEV (1ULL << 15)  /* 5 */
#define NET_BIND_CONNECT 3ULL      /* 4: TCP */
#define SCOPE_UNIX_AND_SIGNAL 3ULL /* 6: abstract sockets, and signals, of processes outside */

typedef struct ruleset_attributes {
  uint64_t files, network, scoped;
} ruleset_attributes;

enum { MOST_ABOVE = 64, PATH_BYTES = 4096 };

typedef struct ruleset {
  int fd;
  uint64_t handled;
  /* The closed folder and those above it, by device and inode. */
  struct {
    dev_t device;
    ino_t inode;
  } above[MOST_ABOVE];
  int n_above;
  const char *failed;
} ruleset;

static const uint64_t reading = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
                      of_files = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                                 LANDLOCK_ACCESS_FS_EXECUTE | FS_TRUNCATE | FS_IOCTL_DEV,
                      writing = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
                                LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                                LANDLOCK_ACCESS_FS_MAKE_REG | FS_REFER | FS_TRUNCATE,
                      device = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                               FS_IOCTL_DEV;

static uint64_t rights_of(int version) {
  uint64_t rights = (1ULL << 13) - 1; /* of version 1 */
  if (version >= 2) rights |= FS_REFER;
  if (version >= 3) rights |= FS_TRUNCATE;
  if (version >= 5) rights |= FS_IOCTL_DEV;
  return rights;
}

/* ---- rules ---- */

static bool is_above(const ruleset *r, const struct stat *info) {
  for (int i = 0; i < r->n_above; i++)
    if (r->above[i].device == info->st_dev && r->above[i].inode == info->st_ino) return true;
  return false;
}

static void find_above(ruleset *r, const char *closed) {
  struct stat info;
  int fd = open(closed, O_PATH | O_DIRECTORY | O_CLOEXEC);
  while (fd >= 0 && r->n_above < MOST_ABOVE && fstat(fd, &info) == 0) {
    if (is_above(r, &info)) break; /* the root is above itself */
    r->above[r->n_above].device = info.st_dev;
    r->above[r->n_above++].inode = info.st_ino;
    int next = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
    close(fd);
    fd = next;
  }
  if (fd >= 0) close(fd);
}

static void add_rule(ruleset *r, int fd, uint64_t rights) {
  struct landlock_path_beneath_attr rule = {.allowed_access = rights & r->handled, .parent_fd = fd};
  if (syscall(SYS_landlock_add_rule, r->fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
    r->failed = "its files";
}

/* What the caller has asked for: it must be there. */
static void allow(ruleset *r, const char *path, uint64_t rights) {
  struct stat info;
  int fd = open(path, O_PATH | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &info) != 0)
    r->failed = "its files";
  else
    add_rule(r, fd, S_ISDIR(info.st_mode) ? rights : rights & of_files);
  if (fd >= 0) close(fd);
}

/* What comes on top: where it is there, and neither the closed folder nor above it. */
static void allow_known(ruleset *r, const char *path, uint64_t rights) {
  struct stat info;
  int fd = open(path, O_PATH | O_CLOEXEC);
  if (fd < 0) return;
  if (fstat(fd, &info) == 0 && !is_above(r, &info))
    add_rule(r, fd, S_ISDIR(info.st_mode) ? rights : rights & of_files);
  close(fd);
}

/* Entries of a folder whose names begin so and contain `part`. */
static void allow_entries(ruleset *r, const char *folder, const char *beginning, const char *part,
                          uint64_t rights) {
  char path[PATH_BYTES + 300];
  DIR *d = opendir(folder);
  for (struct dirent *e; d && (e = readdir(d));) {
    if (strncmp(e->d_name, beginning, strlen(beginning)) != 0 || !strstr(e->d_name, part)) continue;
    snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    allow_known(r, path, rights);
  }
  if (d) closedir(d);
}

/* A list of paths, as the loader's variables have it. */
static void allow_list(ruleset *r, const char *list, const char *separators) {
  char *copy = list ? strdup(list) : NULL, *rest = NULL;
  for (char *p = copy ? strtok_r(copy, separators, &rest) : NULL; p;
       p = strtok_r(NULL, separators, &rest))
    if (strchr(p, '/')) allow_known(r, p, reading);
  free(copy);
}

/* ---- what a program needs ---- */

static int find_loader(struct dl_phdr_info *info, size_t size, void *loader) {
  (void)size;
  for (int i = 0; i < info->dlpi_phnum; i++)
    if (info->dlpi_phdr[i].p_type == PT_INTERP)
      *(const char **)loader = (const char *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
  return 1; /* the first is this program */
}

/* The program, the loader, which is this program's own, and libraries where they are looked for. */
static void allow_program(ruleset *r, const char *program) {
  static const char *const places[] = {"/lib",
                                       "/lib32",
                                       "/lib64",
                                       "/usr/lib",
                                       "/usr/lib32",
                                       "/usr/lib64",
                                       "/usr/local/lib",
                                       "/usr/local/lib64",
                                       "/usr/local/cuda/lib64",
                                       "/usr/local/cuda/targets",
                                       "/usr/local/nvidia",
                                       "/opt/cuda/lib64",
                                       "/usr/share/nvidia",
                                       "/usr/share/zoneinfo",
                                       "/etc/ld.so.cache",
                                       "/etc/ld.so.preload",
                                       "/etc/localtime",
                                       "/etc/nvidia"};
  char folder[PATH_BYTES], beside[PATH_BYTES + 16];
  const char *loader = NULL, *slash = strrchr(program, '/');
  allow(r, program, LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE);
  dl_iterate_phdr(find_loader, &loader);
  if (loader) allow_known(r, loader, LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE);
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) allow_known(r, places[i], reading);
  snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - program) : 1,
           slash ? program : ".");
  /* Its folder may be anybody's home: of that only libraries. */
  allow_entries(r, folder, "lib", ".so", reading);
  snprintf(beside, sizeof beside, "%s/../lib", folder);
  allow_known(r, beside, reading);
}

/* Files that say what a sanitizer is not to report: it ends the program where it cannot read them.
 */
static void allow_suppressions(ruleset *r) {
  static const char *const variables[] = {"ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS",
                                          "UBSAN_OPTIONS"};
  for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
    const char *options = getenv(variables[i]), *at = options ? strchr(options, '/') : NULL;
    allow_list(r, at, ":,");
  }
}

static void allow_environment(ruleset *r) {
  if (STEPS_SANITIZED) allow_suppressions(r);
  allow_list(r, getenv("LD_LIBRARY_PATH"), ":;");
  allow_list(r, getenv("LD_PRELOAD"), ": ");
  allow_list(r, getenv("WEBML_CUDA_MODULE"), "");
  allow_list(r, getenv("WEBML_SANDBOX_READ"), ":");
}

/* Of other processes nothing. */
static void allow_system(ruleset *r) {
  static const char *const places[] = {
      "/proc/self",    "/proc/cpuinfo", "/proc/meminfo",     "/proc/stat", "/proc/version",
      "/proc/devices", "/proc/modules", "/proc/filesystems", "/proc/sys",  "/proc/driver",
      "/sys",          "/dev/urandom",  "/dev/random"};
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) allow_known(r, places[i], reading);
  allow_known(r, "/dev/null", device & ~FS_IOCTL_DEV);
}

/* Device nodes of NVIDIA's drivers for cards, for boards that have the GPU on their chip, and for
 * Windows' subsystem. */
static void allow_gpus(ruleset *r) {
  static const char *const names[] = {"nvidia", "nvhost", "nvmap", "nvgpu", "dxg"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    allow_entries(r, "/dev", names[i], "", device | LANDLOCK_ACCESS_FS_READ_DIR);
}

static void allow_paths(ruleset *r, const char *const *paths, uint64_t rights) {
  for (int i = 0; i < CONFINEMENT_PATHS && paths[i]; i++) allow(r, paths[i], rights);
}

const char *restrict_files(const confinement *c, const char *program) {
  int version = kernel_landlock();
  if (!version) return NULL;
  ruleset_attributes attributes = {.files = rights_of(version),
                                   .network = version >= 4 && !c->network ? NET_BIND_CONNECT : 0,
                                   .scoped = version >= 6 ? SCOPE_UNIX_AND_SIGNAL : 0};
  ruleset r = {.handled = attributes.files};
  r.fd = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0);
  if (r.fd < 0) return "Landlock";
  if (c->closed) find_above(&r, c->closed);
  allow_program(&r, program);
  allow_environment(&r);
  allow_system(&r);
  if (c->gpu) allow_gpus(&r);
  allow_paths(&r, c->readable, reading);
  allow_paths(&r, c->writable, writing);
  if (!r.failed && syscall(SYS_landlock_restrict_self, r.fd, 0) != 0) r.failed = "Landlock";
  if (!r.failed) close(r.fd);
  return r.failed;
}
