/* Backups of everything, for administrators. */
#include "backup/backup.h"

#include "api.h"
#include "cascade.h"
#include "context/events.h"
#include "context/log.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct api_backups {
  pthread_mutex_t mutex;
  pthread_cond_t done;
  bool busy; /* one is made or put back */
};

static void list(api_call *call) {
  char folder[3000], path[CONTEXT_PATH];
  json_t *all = json_array();
  snprintf(folder, sizeof folder, "%s/backups", call->api->context.data_dir);
  DIR *d = opendir(folder);
  for (struct dirent *e; d && (e = readdir(d));) {
    struct stat info;
    char *dot = strrchr(e->d_name, '.');
    if (!dot || strcmp(dot, ".zip") != 0) continue;
    snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    if (stat(path, &info) != 0) continue;
    json_array_append_new(
        all, json_pack("{s:s%, s:I, s:I}", "backup", e->d_name, (size_t)(dot - e->d_name), "bytes",
                       (json_int_t)info.st_size, "made", (json_int_t)info.st_mtime));
  }
  if (d) closedir(d);
  api_reply(call, 200, json_pack("{s:o}", "backups", all));
}

/* ---- making one: in a thread of its own, since it may take long ---- */

typedef struct making {
  api *a;
  char key[65];
} making;

static void *make_backup(void *arg) {
  making *m = arg;
  struct api_backups *b = m->a->backups;
  char error[512] = "";
  bool ok = backup_make(&m->a->context, m->key, error, sizeof error);
  hide_paths(&m->a->context, error);
  log_event("backup", 0, m->key, ok ? "made" : error);
  event_send(&m->a->context, "backup", EVENT_FOR_ADMINS, 0,
             json_pack("{s:s, s:s, s:s*}", "backup", m->key, "state", ok ? "ready" : "failed",
                       "error", ok ? NULL : error));
  pthread_mutex_lock(&b->mutex);
  b->busy = false;
  pthread_cond_broadcast(&b->done);
  pthread_mutex_unlock(&b->mutex);
  free(m);
  return NULL;
}

bool api_backups_start(api *a) {
  struct api_backups *b = calloc(1, sizeof *b);
  if (!b) return false;
  pthread_mutex_init(&b->mutex, NULL);
  pthread_cond_init(&b->done, NULL);
  a->backups = b;
  return true;
}

void api_backups_stop(api *a) {
  struct api_backups *b = a->backups;
  if (!b) return;
  pthread_mutex_lock(&b->mutex);
  while (b->busy) pthread_cond_wait(&b->done, &b->mutex);
  pthread_mutex_unlock(&b->mutex);
  pthread_mutex_destroy(&b->mutex);
  pthread_cond_destroy(&b->done);
  free(b);
  a->backups = NULL;
}

/* False: answered, another one is being made or put back. */
static bool enter(api_call *call) {
  struct api_backups *b = call->api->backups;
  pthread_mutex_lock(&b->mutex);
  bool is_free = !b->busy;
  b->busy = true;
  pthread_mutex_unlock(&b->mutex);
  if (!is_free) api_fail(call, 409, "a backup is being made or put back");
  return is_free;
}

static void leave(api *a) {
  pthread_mutex_lock(&a->backups->mutex);
  a->backups->busy = false;
  pthread_cond_broadcast(&a->backups->done);
  pthread_mutex_unlock(&a->backups->mutex);
}

static bool is_there(const api *a, const char *key) {
  char path[CONTEXT_PATH];
  path_of_backup(&a->context, key, path, sizeof path);
  return access(path, F_OK) == 0;
}

static void make(api_call *call) {
  pthread_t thread;
  struct tm tm;
  time_t now = time(NULL);
  making *m = calloc(1, sizeof *m);
  if (!m || !enter(call)) {
    if (!m) api_fail(call, 503, "out of memory");
    free(m);
    return;
  }
  m->a = call->api;
  size_t n = strftime(m->key, sizeof m->key, "%Y-%m-%dT%H-%M-%SZ", gmtime_r(&now, &tm));
  /* Another one of this second has its own key. */
  for (int i = 2; is_there(call->api, m->key) && i < 100; i++)
    snprintf(m->key + n, sizeof m->key - n, "-%d", i);
  json_t *answer = json_pack("{s:s, s:s}", "backup", m->key, "state", "making");
  if (pthread_create(&thread, NULL, make_backup, m) == 0) {
    pthread_detach(thread);
    api_reply(call, 202, answer);
    return;
  }
  json_decref(answer);
  free(m);
  leave(call->api);
  api_fail(call, 503, "no thread for it");
}

/* ---- one ---- */

/* The path; false: answered. */
static bool find(api_call *call, char *path, size_t size) {
  path_of_backup(&call->api->context, call->key, path, size);
  if (access(path, F_OK) == 0) return true;
  api_fail(call, 404, "there is no backup %s", call->key);
  return false;
}

static void download(api_call *call) {
  char path[CONTEXT_PATH], name[80];
  if (!find(call, path, sizeof path)) return;
  snprintf(name, sizeof name, "webml-%s.zip", call->key);
  api_reply_download(call, path, "application/zip", name);
}

static void erase(api_call *call) {
  char path[CONTEXT_PATH];
  if (!find(call, path, sizeof path)) return;
  unlink(path);
  api_log("backup", call, call->user.id, call->key, "deleted");
  api_reply_empty(call);
}

static void restore(api_call *call) {
  api *a = call->api;
  char path[CONTEXT_PATH], error[512] = "";
  if (!find(call, path, sizeof path) || !enter(call)) return;
  bool running = !jobs_pause(a->jobs);
  bool ok = !running && backup_prepare(a->context.data_dir, path, error, sizeof error) &&
            backup_apply(&a->context, error, sizeof error);
  hide_paths(&a->context, error);
  if (ok) {
    serve_unload_all(a->serving);
    cascade(a);
  }
  if (!running) jobs_resume(a->jobs);
  leave(a);
  api_log("backup", call, call->user.id, call->key, ok ? "put back" : running ? "refused" : error);
  if (ok)
    api_reply(call, 200,
              json_pack("{s:s, s:s}", "backup", call->key, "state", "put back; log in again"));
  else if (running)
    api_fail(call, 409, "trainings run; cancel them, or wait for their end");
  else
    api_fail(call, 422, "%s", error);
}

/* ---- answers ---- */

static const shape_member backup_shape_members[] = {{"backup", SHAPE_TEXT, 0, NULL, NULL, NULL},
                                                    {"bytes", SHAPE_BYTES, 0, NULL, NULL, NULL},
                                                    {"made", SHAPE_TIME, 0, NULL, NULL, NULL},
                                                    {0}};
static const answer_shape backup_shape = {"Backup", backup_shape_members, NULL, NULL};
static const shape_member backups_shape_members[] = {
    {"backups", SHAPE_LIST, 0, NULL, &backup_shape, NULL}, {0}};
static const answer_shape backups_shape = {"Backups", backups_shape_members, NULL, NULL};
static const shape_member state_shape_members[] = {
    {"backup", SHAPE_TEXT, 0, NULL, NULL, NULL}, {"state", SHAPE_TEXT, 0, NULL, NULL, NULL}, {0}};
static const answer_shape state_shape = {"BackupState", state_shape_members, NULL, NULL};

static const api_route routes[] = {
    {.id = "listBackups",
     .method = "GET",
     .path = "/api/v1/system/backups",
     .right = API_ADMIN,
     .about = "the backups on this server",
     .run = list,
     .answer = &backups_shape},
    {.id = "makeBackup",
     .method = "POST",
     .path = "/api/v1/system/backups",
     .right = API_ADMIN,
     .about = "make one while everything goes on; the event backup says when it is ready",
     .run = make,
     .answer = &state_shape},
    {.id = "downloadBackup",
     .method = "GET",
     .path = "/api/v1/system/backups/{key}/file",
     .right = API_ADMIN,
     .about = "the backup as a zip file",
     .run = download,
     .how = API_TICKET,
     .content = "application/zip"},
    {.id = "restoreBackup",
     .method = "POST",
     .path = "/api/v1/system/backups/{key}/restore",
     .right = API_ADMIN,
     .about = "put it back in place of everything that is there",
     .run = restore,
     .answer = &state_shape},
    {.id = "deleteBackup",
     .method = "DELETE",
     .path = "/api/v1/system/backups/{key}",
     .right = API_ADMIN,
     .about = "delete it",
     .run = erase,
     .how = API_ESSENTIAL},
    {0}};

const api_resource api_backups = {"backups", "Everything in one file.", routes};
