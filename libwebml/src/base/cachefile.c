#define _GNU_SOURCE /* O_TMPFILE */
#include "base/cachefile.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* Makes the folder and those above it. */
static bool make_folders(char *path) {
  for (char *at = path + 1; *at; at++) {
    if (*at != '/') continue;
    *at = '\0';
    mkdir(path, 0777);
    *at = '/';
  }
  return mkdir(path, 0777) == 0 || wml_is_directory(path);
}

webml_status wml_cache_folder(const char *given, char **folder) {
  const char *set = given ? given : getenv("WEBML_CACHE"), *xdg = getenv("XDG_CACHE_HOME"),
             *home = getenv("HOME");
  *folder = NULL;
  if (set && (strcmp(set, "none") == 0 || !*set)) return WEBML_OK;
  if (!set && !(xdg && *xdg) && !(home && *home)) return WEBML_OK;
  char *path = set           ? wml_strdup(set)
               : xdg && *xdg ? wml_path_join(xdg, "webml")
                             : wml_path_join(home, ".cache/webml");
  if (!path) return wml_no_memory(64, "a path");
  bool there = make_folders(path) && access(path, W_OK) == 0;
  if (!there && given) {
    webml_status status =
        wml_fail(WEBML_ERROR_IO, "cannot keep caches in %s: %s", path, strerror(errno));
    wml_free(path);
    return status;
  }
  if (there)
    *folder = path;
  else
    wml_free(path);
  return WEBML_OK;
}

static char *with_suffix(const char *path, const char *suffix) {
  size_t n = strlen(path), m = strlen(suffix);
  char *text = wml_alloc(n + m + 1);
  if (!text) return NULL;
  memcpy(text, path, n);
  memcpy(text + n, suffix, m + 1);
  return text;
}

static webml_status cannot(const char *what, const char *path) {
  return wml_fail(WEBML_ERROR_IO, "cannot %s %s: %s", what, path, strerror(errno));
}

webml_status wml_cachefile_lock(const char *path, wml_cachefile *f) {
  char suffix[32];
  snprintf(suffix, sizeof suffix, ".%ld.partial", (long)getpid());
  *f = (wml_cachefile){.lock = -1, .fd = -1};
  f->path = wml_strdup(path);
  f->temporary = with_suffix(path, suffix);
  f->lock_path = with_suffix(path, ".lock");
  if (!f->path || !f->temporary || !f->lock_path) {
    wml_cachefile_abandon(f);
    return wml_no_memory(strlen(path), "a path");
  }
  f->lock = open(f->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  int got = f->lock < 0 ? -1 : flock(f->lock, LOCK_EX);
  while (got != 0 && f->lock >= 0 && errno == EINTR) got = flock(f->lock, LOCK_EX);
  if (got == 0) return WEBML_OK;
  webml_status status = cannot("lock", f->lock_path);
  wml_cachefile_abandon(f);
  return status;
}

webml_status wml_cachefile_create(wml_cachefile *f) {
  f->fd = open(f->temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  return f->fd >= 0 ? WEBML_OK : cannot("write", f->temporary);
}

static void release(wml_cachefile *f) {
  if (f->lock >= 0) close(f->lock);
  wml_free(f->path);
  wml_free(f->temporary);
  wml_free(f->lock_path);
  *f = (wml_cachefile){.lock = -1, .fd = -1};
}

webml_status wml_cachefile_commit(wml_cachefile *f) {
  if (rename(f->temporary, f->path) != 0) {
    webml_status status = cannot("write", f->path);
    wml_cachefile_abandon(f);
    return status;
  }
  release(f);
  return WEBML_OK;
}

void wml_cachefile_abandon(wml_cachefile *f) {
  if (f->fd >= 0) {
    close(f->fd);
    unlink(f->temporary);
  }
  release(f);
}

int wml_nameless_file(const char *folder, uint64_t size) {
  int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) { /* a file system without nameless files */
    char *path = wml_path_join(folder, "webml-XXXXXX");
    fd = path ? mkstemp(path) : -1;
    if (fd >= 0) unlink(path);
    wml_free(path);
  }
  /* Reserved now: a full disk is an error here, not a signal when the mapping is touched. */
  int failed = fd < 0 ? errno : size ? posix_fallocate(fd, 0, (off_t)size) : 0;
  if (failed == 0) return fd;
  wml_fail(WEBML_ERROR_IO, "cannot make a file of %llu MiB in %s: %s",
           (unsigned long long)(size >> 20), folder, strerror(failed));
  if (fd >= 0) close(fd);
  return -1;
}

webml_status wml_write_at(int fd, const char *name, const void *bytes, size_t n, uint64_t offset) {
  for (size_t at = 0; at < n;) {
    ssize_t wrote = pwrite(fd, (const char *)bytes + at, n - at, (off_t)(offset + at));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return cannot("write", name);
    at += (size_t)wrote;
  }
  return WEBML_OK;
}

webml_status wml_read_at(int fd, const char *name, void *bytes, size_t n, uint64_t offset) {
  for (size_t at = 0; at < n;) {
    ssize_t got = pread(fd, (char *)bytes + at, n - at, (off_t)(offset + at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return cannot("read", name);
    if (got == 0) return wml_fail(WEBML_ERROR_IO, "%s is cut off", name);
    at += (size_t)got;
  }
  return WEBML_OK;
}
