/* Walking a folder, by several threads. Every file's size and times go into the identity, so that
 * an edit in place is noticed; nothing is opened. */
#include "base/file.h"
#include "base/hash.h"
#include "base/threads.h"
#include "data/images/pictures.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { MAX_DEPTH = 16, MAX_PATH = 4096 };

typedef struct folder {
  char *name; /* below the top, "" for it */
  int depth;
} folder;

/* What one thread has found. */
typedef struct walker {
  wml_arena arena;
  wml_entries entries;
  uint64_t hash; /* sum over files: whatever order they come in */
} walker;

typedef struct walk {
  const char *path;
  int top;
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  folder *waiting;
  size_t n, capacity;
  int busy;
  bool failed;
  walker walkers[WML_MAX_HELPERS];
} walk;

static webml_status push(walk *w, const char *name, size_t length, int depth) {
  webml_status status = WEBML_OK;
  char *copy = wml_strndup(name, length);
  pthread_mutex_lock(&w->mutex);
  if (copy && w->n == w->capacity) {
    size_t capacity = w->capacity * 2 + 64;
    folder *grown = wml_regrow(w->waiting, w->n * sizeof *grown, capacity * sizeof *grown);
    if (grown) w->waiting = grown, w->capacity = capacity;
  }
  if (copy && w->n < w->capacity)
    w->waiting[w->n++] = (folder){copy, depth};
  else {
    wml_free(copy);
    status = wml_no_memory(length, "a list of folders");
  }
  pthread_cond_signal(&w->changed);
  pthread_mutex_unlock(&w->mutex);
  return status;
}

/* The next folder; false when all are walked. */
static bool pop(walk *w, folder *next) {
  pthread_mutex_lock(&w->mutex);
  while (w->n == 0 && w->busy > 0 && !w->failed) pthread_cond_wait(&w->changed, &w->mutex);
  bool found = w->n > 0 && !w->failed;
  if (found) {
    *next = w->waiting[--w->n];
    w->busy++;
  }
  pthread_mutex_unlock(&w->mutex);
  return found;
}

static void done(walk *w, bool failed) {
  pthread_mutex_lock(&w->mutex);
  w->busy--;
  w->failed |= failed;
  pthread_cond_broadcast(&w->changed);
  pthread_mutex_unlock(&w->mutex);
}

/* name: room for MAX_PATH, holding the folder's name and a slash in its first `length` bytes. */
static webml_status visit(walk *w, walker *mine, int fd, const struct dirent *e, char *name,
                          size_t length, int depth) {
  struct stat info;
  size_t n = strlen(e->d_name);
  if (wml_is_litter(e->d_name, n)) return WEBML_OK;
  if (length + n + 2 > MAX_PATH)
    return wml_fail(WEBML_ERROR_IO, "%s: the path of %.200s is too long", w->path, name);
  memcpy(name + length, e->d_name, n + 1);
  if (e->d_type == DT_DIR) { /* its size and times do not count */
    WML_TRY(wml_entries_add(&mine->entries, &mine->arena, name, length + n, -1, true));
    return depth < MAX_DEPTH ? push(w, name, length + n, depth + 1) : WEBML_OK;
  }
  if (fstatat(fd, e->d_name, &info, 0) != 0) {
    if (errno == ENOENT || errno == ELOOP) return WEBML_OK; /* a link to nowhere; just removed */
    return wml_fail(WEBML_ERROR_IO, "cannot read %s/%s: %s", w->path, name, strerror(errno));
  }
  bool is_folder = S_ISDIR(info.st_mode);
  if (!is_folder && !S_ISREG(info.st_mode)) return WEBML_OK;
  WML_TRY(wml_entries_add(&mine->entries, &mine->arena, name, length + n, -1, is_folder));
  if (is_folder) return depth < MAX_DEPTH ? push(w, name, length + n, depth + 1) : WEBML_OK;
  mine->hash += wml_hash(wml_file_identity(&info), name, length + n);
  return WEBML_OK;
}

static webml_status walk_folder(walk *w, walker *mine, const folder *f) {
  char name[MAX_PATH];
  size_t length = strlen(f->name);
  int fd = openat(w->top, length ? f->name : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  if (!dir) {
    webml_status status = wml_fail(WEBML_ERROR_IO, "cannot read the folder %s/%s: %s", w->path,
                                   f->name, strerror(errno));
    if (fd >= 0) close(fd);
    return status;
  }
  memcpy(name, f->name, length + 1);
  if (length) name[length++] = '/';
  name[length] = '\0';
  webml_status status = WEBML_OK;
  for (struct dirent *e; status == WEBML_OK && (e = readdir(dir)) != NULL;)
    status = visit(w, mine, fd, e, name, length, f->depth);
  closedir(dir);
  return status;
}

static webml_status walk_some(void *arg, int helper) {
  walk *w = arg;
  folder f;
  webml_status status = WEBML_OK;
  while (status == WEBML_OK && pop(w, &f)) {
    status = walk_folder(w, &w->walkers[helper], &f);
    wml_free(f.name);
    done(w, status != WEBML_OK);
  }
  wml_entries_sort(&w->walkers[helper].entries);
  return status;
}

/* Names stay in the walkers' arenas, which the pictures keep. */
static webml_status collect(walk *w, wml_pictures *p, wml_entries *entries) {
  webml_status status = WEBML_OK;
  uint64_t hash = 0;
  for (int i = 0; i < WML_MAX_HELPERS && status == WEBML_OK; i++) {
    status = wml_entries_merge(entries, &w->walkers[i].entries);
    hash += w->walkers[i].hash;
    wml_arena_adopt(&p->arena, &w->walkers[i].arena);
  }
  p->identity = wml_scramble(hash ^ entries->n);
  return status;
}

webml_status wml_folder_list(wml_pictures *p, wml_entries *entries) {
  walk *w = wml_calloc(1, sizeof *w);
  if (!w) return wml_no_memory(sizeof *w, "a folder");
  w->path = p->path;
  w->top = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (w->top < 0) {
    wml_free(w);
    return wml_fail(WEBML_ERROR_IO, "cannot read the folder %s: %s", p->path, strerror(errno));
  }
  pthread_mutex_init(&w->mutex, NULL);
  pthread_cond_init(&w->changed, NULL);
  webml_status status = push(w, "", 0, 0);
  if (status == WEBML_OK) status = wml_parallel(wml_helper_count(), walk_some, w);
  if (status == WEBML_OK) status = collect(w, p, entries);
  for (size_t i = 0; i < w->n; i++) wml_free(w->waiting[i].name);
  for (int i = 0; i < WML_MAX_HELPERS; i++) {
    wml_free(w->walkers[i].entries.items);
    wml_arena_free(&w->walkers[i].arena);
  }
  wml_free(w->waiting);
  pthread_cond_destroy(&w->changed);
  pthread_mutex_destroy(&w->mutex);
  close(w->top);
  wml_free(w);
  return status;
}
