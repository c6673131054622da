#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LANES = 8, LANE_BYTES = 2 << 20, MOST_FILES = 64, EVERY_MS = 100, CHUNK = 1 << 16 };

/* Threads write into several lanes, so that they seldom meet at one. */
typedef struct lane {
  pthread_mutex_t mutex;
  char *bytes; /* LANE_BYTES */
  size_t size;
  uint64_t dropped;
} lane;

static struct {
  lane lanes[LANES];
  pthread_mutex_t writer; /* of the files */
  char *spare;            /* LANE_BYTES; the writer's */
  pthread_mutex_t mutex;  /* of what follows */
  pthread_cond_t some;
  pthread_t thread;
  bool stop, waiting, hurry; /* waiting: some lane has lines */
  atomic_bool open;
  char folder[3000];
  size_t file_bytes, size;
  int files, fd;
} journal = {.mutex = PTHREAD_MUTEX_INITIALIZER,
             .writer = PTHREAD_MUTEX_INITIALIZER,
             .some = PTHREAD_COND_INITIALIZER,
             .fd = -1};

/* ---- files: server.log, server.log.1 (older), ... ---- */

static void path_of(int number, char *path, size_t size) {
  if (number)
    snprintf(path, size, "%s/server.log.%d", journal.folder, number);
  else
    snprintf(path, size, "%s/server.log", journal.folder);
}

static bool open_file(void) {
  char path[4096];
  struct stat info;
  path_of(0, path, sizeof path);
  journal.fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  journal.size = journal.fd >= 0 && fstat(journal.fd, &info) == 0 ? (size_t)info.st_size : 0;
  return journal.fd >= 0;
}

static void rotate(void) {
  char from[4096], to[4096];
  close(journal.fd);
  for (int i = journal.files - 1; i > 0; i--) {
    path_of(i - 1, from, sizeof from);
    path_of(i, to, sizeof to);
    rename(from, to);
  }
  open_file();
}

/* The writer's mutex is held. False: lines were lost. */
static bool write_out(const char *bytes, size_t size) {
  if (journal.fd < 0 && !open_file()) return false;
  if (journal.size && journal.size + size > journal.file_bytes) rotate();
  for (size_t done = 0; done < size;) {
    ssize_t n = journal.fd >= 0 ? write(journal.fd, bytes + done, size - done) : -1;
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      /* No half lines: what is there of this piece goes again. */
      if (journal.fd >= 0 && ftruncate(journal.fd, (off_t)journal.size) != 0) rotate();
      return false;
    }
    done += (size_t)n;
  }
  journal.size += size;
  return true;
}

static uint64_t count_lines(const char *bytes, size_t size) {
  uint64_t n = 0;
  for (const char *p = bytes; (p = memchr(p, '\n', size - (size_t)(p - bytes))); p++) n++;
  return n;
}

/* Whole lines, some at a time, so that files keep to their size. Returns how many were lost. */
static uint64_t write_lines_out(const char *bytes, size_t size) {
  uint64_t lost = 0;
  while (size) {
    size_t n = size < CHUNK ? size : CHUNK;
    while (n && bytes[n - 1] != '\n') n--;
    if (!n) n = size; /* never: a line is shorter than a chunk */
    if (!write_out(bytes, n)) lost += count_lines(bytes, n);
    bytes += n;
    size -= n;
  }
  return lost;
}

/* Takes what waits in a lane and writes it. The writer's mutex is held. */
static void flush_lane(lane *l) {
  pthread_mutex_lock(&l->mutex);
  char *bytes = l->bytes;
  size_t size = l->size;
  uint64_t dropped = l->dropped;
  l->bytes = journal.spare;
  journal.spare = bytes;
  l->size = 0;
  l->dropped = 0;
  pthread_mutex_unlock(&l->mutex);
  if (dropped) {
    char line[128];
    int n =
        snprintf(line, sizeof line, "{\"event\":\"log\",\"outcome\":\"%llu lines were lost\"}\n",
                 (unsigned long long)dropped);
    if (write_out(line, (size_t)n)) dropped = 0;
  }
  dropped += write_lines_out(bytes, size);
  if (!dropped) return;
  pthread_mutex_lock(&l->mutex);
  l->dropped += dropped;
  pthread_mutex_unlock(&l->mutex);
}

static void flush(void) {
  pthread_mutex_lock(&journal.writer);
  for (int i = 0; i < LANES; i++) flush_lane(&journal.lanes[i]);
  pthread_mutex_unlock(&journal.writer);
}

static void *write_lines(void *arg) {
  (void)arg;
  pthread_mutex_lock(&journal.mutex);
  while (!journal.stop) {
    struct timespec until;
    while (!journal.waiting && !journal.stop) pthread_cond_wait(&journal.some, &journal.mutex);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += EVERY_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) until.tv_nsec -= 1000000000L, until.tv_sec++;
    /* The others of this tenth of a second join the first. */
    if (!journal.hurry) pthread_cond_timedwait(&journal.some, &journal.mutex, &until);
    journal.waiting = journal.hurry = false;
    pthread_mutex_unlock(&journal.mutex);
    flush();
    pthread_mutex_lock(&journal.mutex);
  }
  pthread_mutex_unlock(&journal.mutex);
  return NULL;
}

static void wake(bool hurry) {
  pthread_mutex_lock(&journal.mutex);
  journal.waiting = true;
  journal.hurry = journal.hurry || hurry;
  pthread_cond_signal(&journal.some);
  pthread_mutex_unlock(&journal.mutex);
}

/* ---- open, close, write ---- */

static bool make_lanes(void) {
  for (int i = 0; i < LANES; i++) {
    pthread_mutex_init(&journal.lanes[i].mutex, NULL);
    if (!(journal.lanes[i].bytes = malloc(LANE_BYTES))) return false;
  }
  return (journal.spare = malloc(LANE_BYTES)) != NULL;
}

bool journal_open(const char *folder, size_t file_bytes, int files, char *error, size_t size) {
  snprintf(journal.folder, sizeof journal.folder, "%s", folder);
  journal.file_bytes = file_bytes;
  journal.files = files < 1 ? 1 : files > MOST_FILES ? MOST_FILES : files;
  bool ok = make_lanes() && (mkdir(folder, 0700) == 0 || errno == EEXIST) && open_file() &&
            pthread_create(&journal.thread, NULL, write_lines, NULL) == 0;
  if (!ok) snprintf(error, size, "cannot write the log in %s: %s", folder, strerror(errno));
  atomic_store(&journal.open, ok);
  return ok;
}

void journal_close(void) {
  if (!atomic_exchange(&journal.open, false)) return;
  pthread_mutex_lock(&journal.mutex);
  journal.stop = journal.hurry = true;
  pthread_cond_signal(&journal.some);
  pthread_mutex_unlock(&journal.mutex);
  pthread_join(journal.thread, NULL);
  flush();
  if (journal.fd >= 0) close(journal.fd);
  journal.fd = -1;
  for (int i = 0; i < LANES; i++) free(journal.lanes[i].bytes);
  free(journal.spare);
}

void journal_write(const char *line, size_t size, bool soon) {
  static atomic_uint threads;
  static _Thread_local unsigned mine;
  if (!mine) mine = atomic_fetch_add(&threads, 1) + 1;
  if (!atomic_load(&journal.open)) {
    fprintf(stderr, "%.*s\n", (int)size, line);
    return;
  }
  lane *l = &journal.lanes[mine % LANES];
  pthread_mutex_lock(&l->mutex);
  size_t before = l->size;
  bool room = before + size + 1 <= LANE_BYTES;
  if (room) {
    memcpy(l->bytes + before, line, size);
    l->bytes[before + size] = '\n';
    l->size += size + 1;
  } else
    l->dropped++;
  bool half = before < LANE_BYTES / 2 && l->size >= LANE_BYTES / 2;
  pthread_mutex_unlock(&l->mutex);
  if (before == 0 || soon || half) wake(soon || half);
}

/* ---- reading, from the end ---- */

static bool begins(const char *text, const char *with) {
  return text && strncmp(text, with, strlen(with)) == 0;
}

static bool equals(const json_t *line, const char *key, const char *value) {
  const char *text = json_string_value(json_object_get(line, key));
  return text && strcmp(text, value) == 0;
}

/* "2026-11-21T15:20:00.123Z" */
static int64_t time_of(const json_t *line) {
  const char *text = json_string_value(json_object_get(line, "time"));
  struct tm tm = {0};
  if (!text || sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
                      &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 6)
    return 0;
  tm.tm_year -= 1900;
  tm.tm_mon--;
  return (int64_t)timegm(&tm);
}

static bool passes(const json_t *line, const journal_filter *f) {
  const json_t *user = json_object_get(line, "user");
  const char *path = json_string_value(json_object_get(line, "path"));
  if (f->event && !equals(line, "event", f->event)) return false;
  if (f->outcome && !equals(line, "outcome", f->outcome)) return false;
  if (f->path && !begins(path, f->path)) return false;
  if (f->user >= 0 && (!user || json_integer_value(user) != f->user)) return false;
  if (f->until && time_of(line) > f->until) return false;
  return !f->status || json_integer_value(json_object_get(line, "status")) >= f->status;
}

typedef struct reading {
  const journal_filter *filter;
  json_t *list;
  bool done;
} reading;

static void take_line(reading *r, const char *text, size_t size) {
  json_t *line = size ? json_loadb(text, size, 0, NULL) : NULL;
  if (line && r->filter->since && time_of(line) && time_of(line) < r->filter->since)
    r->done = true; /* all that follow are older */
  else if (line && passes(line, r->filter))
    json_array_append(r->list, line);
  if ((int)json_array_size(r->list) >= r->filter->most) r->done = true;
  json_decref(line);
}

/* Chunk by chunk from the end; `rest` is the beginning of a line whose front is still to come. */
static void read_back(reading *r, int fd) {
  off_t at = lseek(fd, 0, SEEK_END);
  char *buffer = NULL;
  size_t rest = 0;
  while (at > 0 && !r->done) {
    size_t n = at < CHUNK ? (size_t)at : CHUNK;
    char *grown = malloc(n + rest);
    if (!grown) break;
    if (rest) memcpy(grown + n, buffer, rest);
    free(buffer);
    buffer = grown;
    at -= (off_t)n;
    if (pread(fd, buffer, n, at) != (ssize_t)n) break;
    size_t end = n + rest;
    for (size_t i = end; i-- > 0 && !r->done;)
      if (buffer[i] == '\n') {
        take_line(r, buffer + i + 1, end - i - 1);
        end = i;
      }
    rest = end;
  }
  if (at == 0 && !r->done) take_line(r, buffer, rest);
  free(buffer);
}

json_t *journal_read(const journal_filter *filter) {
  reading r = {.filter = filter, .list = json_array()};
  if (!r.list) return NULL;
  if (journal.open) flush();
  for (int i = 0; i < journal.files && !r.done; i++) {
    char path[4096];
    path_of(i, path, sizeof path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) break;
    read_back(&r, fd);
    close(fd);
  }
  return r.list;
}
