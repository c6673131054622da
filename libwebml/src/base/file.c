#include "base/file.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static webml_status io_error(const char *what, const char *path) {
  return wml_fail(WEBML_ERROR_IO, "cannot %s %s: %s", what, path, strerror(errno));
}

webml_status wml_file_read(const char *path, size_t limit, char **data, size_t *size) {
  FILE *f = fopen(path, "rb");
  struct stat info;
  if (!f || fstat(fileno(f), &info) != 0) {
    webml_status status = io_error("read", path);
    if (f) fclose(f);
    return status;
  }
  if (S_ISDIR(info.st_mode) || info.st_size < 0 || (size_t)info.st_size > limit) {
    fclose(f);
    if (S_ISDIR(info.st_mode))
      return wml_fail(WEBML_ERROR_IO, "cannot read %s: it is a folder", path);
    return wml_fail(WEBML_ERROR_IO, "cannot read %s: its %lld bytes are more than the limit of %zu",
                    path, (long long)info.st_size, limit);
  }
  size_t bytes = (size_t)info.st_size;
  char *buffer = wml_alloc(bytes + 1);
  if (!buffer) {
    fclose(f);
    return wml_no_memory(bytes, path);
  }
  size_t got = fread(buffer, 1, bytes, f);
  if (ferror(f)) {
    webml_status status = io_error("read", path);
    fclose(f);
    wml_free(buffer);
    return status;
  }
  fclose(f);
  buffer[got] = '\0';
  *data = buffer;
  *size = got;
  return WEBML_OK;
}

webml_status wml_file_size(const char *path, int64_t *bytes) {
  struct stat info;
  if (stat(path, &info) != 0)
    return wml_fail(WEBML_ERROR_IO, "cannot read %s: %s", path, strerror(errno));
  *bytes = (int64_t)info.st_size;
  return WEBML_OK;
}

bool wml_file_exists(const char *path) {
  return access(path, F_OK) == 0;
}

bool wml_same_file(const char *a, const char *b) {
  struct stat x, y;
  return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool wml_is_directory(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

uint64_t wml_file_identity(const struct stat *info) {
  const int64_t fields[] = {(int64_t)info->st_dev,          (int64_t)info->st_ino,
                            (int64_t)info->st_size,         (int64_t)info->st_mtim.tv_sec,
                            (int64_t)info->st_mtim.tv_nsec, (int64_t)info->st_ctim.tv_sec,
                            (int64_t)info->st_ctim.tv_nsec};
  return wml_hash(WML_HASH_SEED, fields, sizeof fields);
}

char *wml_path_join(const char *directory, const char *name) {
  size_t n = strlen(directory), m = strlen(name);
  char *path = wml_alloc(n + m + 2);
  if (!path) return NULL;
  memcpy(path, directory, n);
  if (n && directory[n - 1] != '/') path[n++] = '/';
  memcpy(path + n, name, m + 1);
  return path;
}

webml_status wml_atomic_open(const char *path, wml_atomic_file *f) {
  *f = (wml_atomic_file){0};
  size_t n = strlen(path);
  f->path = wml_strdup(path);
  f->temporary = wml_alloc(n + 32);
  if (!f->path || !f->temporary) {
    wml_atomic_abandon(f);
    return wml_no_memory(n, "a path");
  }
  snprintf(f->temporary, n + 32, "%s.%ld.partial", path, (long)getpid());
  int fd = open(f->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  f->file = fd < 0 ? NULL : fdopen(fd, "wb");
  if (f->file) return WEBML_OK;
  webml_status status = io_error("write", path);
  wml_atomic_abandon(f);
  return status;
}

webml_status wml_atomic_write(wml_atomic_file *f, const void *data, size_t bytes) {
  if (bytes == 0 || fwrite(data, 1, bytes, f->file) == bytes) return WEBML_OK;
  return io_error("write", f->path);
}

/* The rename is on disk only when the folder is. */
static void sync_folder(const char *path) {
  const char *slash = strrchr(path, '/');
  size_t n = slash ? (size_t)(slash - path) : 0;
  char *folder = slash ? wml_strndup(path, n ? n : 1) : wml_strdup(".");
  int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  if (fd >= 0) {
    fsync(fd);
    close(fd);
  }
  wml_free(folder);
}

webml_status wml_atomic_commit(wml_atomic_file *f) {
  webml_status status = WEBML_OK;
  if (fflush(f->file) != 0 || fsync(fileno(f->file)) != 0) status = io_error("write", f->path);
  int closed = fclose(f->file);
  f->file = NULL;
  if (status == WEBML_OK && closed != 0) status = io_error("write", f->path);
  if (status == WEBML_OK && rename(f->temporary, f->path) != 0) status = io_error("write", f->path);
  if (status == WEBML_OK) {
    sync_folder(f->path);
    wml_free(f->temporary);
    f->temporary = NULL;
  }
  wml_atomic_abandon(f);
  return status;
}

webml_status wml_file_write(const char *path, const void *data, size_t bytes) {
  wml_atomic_file f;
  WML_TRY(wml_atomic_open(path, &f));
  webml_status status = wml_atomic_write(&f, data, bytes);
  if (status == WEBML_OK) return wml_atomic_commit(&f);
  wml_atomic_abandon(&f);
  return status;
}

void wml_atomic_abandon(wml_atomic_file *f) {
  if (f->file) fclose(f->file);
  if (f->temporary) unlink(f->temporary);
  wml_free(f->path);
  wml_free(f->temporary);
  *f = (wml_atomic_file){0};
}
