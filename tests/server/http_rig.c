/* A server of server/http alone, for what the whole program does not use, or not so: callbacks
 * about bodies, bodies that are handed on, files, trusted proxies.
 *
 * usage: http-rig FOLDER [OPTION VALUE]...
 *
 *   /echo      the body, as it came               /size     how long the body is
 *   /peer      the client's address               /slow     the same as /echo, from another thread
 *   /file      FOLDER/file, with an entity tag    /json?N   N bytes of JSON that may be compressed
 *   /stream/X  the body goes to FOLDER/X while it comes; the answer says how much there is
 *   /small/... takes 1,000 bytes                  /large/... takes 4 GB
 *   /private/... takes bodies from "Bearer ada" only */
#include "http/http.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *folder;
static http_server *server;

static void answer(http_request *r, int status, const void *bytes, size_t size) {
  http_respond(r, &(http_response){
                      .status = status, .content_type = "text/plain", .body = bytes, .size = size});
}

static void answer_text(http_request *r, const char *text) {
  answer(r, 200, text, strlen(text));
}

/* ---- bodies that are handed on ---- */

typedef struct sink {
  int fd;
  long size;
} sink;

static bool wants(const char *method, const char *path, void *user) {
  (void)user;
  return strcmp(method, "PATCH") == 0 && strncmp(path, "/stream/", 8) == 0;
}

static void *begin(const http_request *r, uint64_t size, http_refusal *refusal, void *user) {
  char path[4096];
  (void)size, (void)user;
  const char *token = http_header(r, "authorization");
  if (token && strcmp(token, "Bearer eve") == 0) {
    *refusal = (http_refusal){403, "not for you"};
    return NULL;
  }
  sink *s = calloc(1, sizeof *s);
  snprintf(path, sizeof path, "%s/%s", folder, http_path(r) + 8);
  s->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  return s;
}

static bool piece(void *object, const void *bytes, size_t size, http_refusal *refusal) {
  sink *s = object;
  if (size >= 4 && memcmp(bytes, "full", 4) == 0) {
    *refusal = (http_refusal){507, "the disk is full"};
    return false;
  }
  s->size += write(s->fd, bytes, size);
  return true;
}

static void end(void *object, bool whole) {
  sink *s = object;
  fprintf(stderr, "end %s after %ld\n", whole ? "whole" : "broken", s->size);
}

static void free_sink(void *object) {
  close(((sink *)object)->fd);
  free(object);
}

/* ---- requests ---- */

static void *answer_slowly(void *arg) {
  http_request *r = arg;
  size_t size;
  usleep(200000);
  const void *body = http_body(r, &size);
  answer(r, 200, body, size);
  return NULL;
}

static void detach(http_request *r) {
  pthread_t thread;
  if (!http_detach(r)) return;
  if (pthread_create(&thread, NULL, answer_slowly, r) == 0) pthread_detach(thread);
}

static void answer_file(http_request *r) {
  char path[4096];
  struct stat info;
  snprintf(path, sizeof path, "%s/file", folder);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &info) != 0) {
    answer(r, 404, "", 0);
    return;
  }
  http_field fields[] = {{"etag", "\"one\""}};
  http_respond_file(r,
                    &(http_response){.status = 200,
                                     .content_type = "application/octet-stream",
                                     .n_fields = 1,
                                     .fields = fields},
                    fd, info.st_size, NULL);
}

static void answer_json(http_request *r) {
  size_t size = strtoul(http_query(r), NULL, 10);
  char *text = malloc(size + 1);
  memset(text, '1', size);
  http_field fields[] = {{"etag", "\"json\""}};
  http_respond(r, &(http_response){.status = 200,
                                   .content_type = "application/json",
                                   .body = text,
                                   .size = size,
                                   .n_fields = 1,
                                   .fields = fields,
                                   .may_compress = true});
  free(text);
}

static void handle(http_request *r, void *user) {
  char text[200];
  size_t size;
  (void)user;
  const void *body = http_body(r, &size);
  const char *path = http_path(r);
  const sink *s = http_body_object(r);
  if (s) {
    snprintf(text, sizeof text, "%ld", s->size);
    answer_text(r, text);
  } else if (strcmp(path, "/echo") == 0)
    answer(r, 200, body, size);
  else if (strcmp(path, "/slow") == 0)
    detach(r);
  else if (strcmp(path, "/peer") == 0)
    answer_text(r, http_peer(r));
  else if (strcmp(path, "/file") == 0)
    answer_file(r);
  else if (strcmp(path, "/json") == 0)
    answer_json(r);
  else {
    snprintf(text, sizeof text, "%zu", size);
    answer_text(r, text);
  }
}

static size_t body_limit(const char *method, const char *path, void *user) {
  (void)method, (void)user;
  if (strncmp(path, "/small/", 7) == 0) return 1000;
  if (strncmp(path, "/large/", 7) == 0 || strncmp(path, "/stream/", 8) == 0) return (size_t)8 << 30;
  return (size_t)64 << 20;
}

static int may_send(const char *method, const char *path, const char *authorization,
                    const char *cookie, void *user) {
  (void)cookie;
  (void)method, (void)user;
  if (strncmp(path, "/private/", 9) != 0) return 0;
  if (!authorization) return 401;
  return strcmp(authorization, "Bearer ada") == 0 ? 0 : 403;
}

static void stop(int number) {
  (void)number;
  http_server_stop(server);
}

int main(int argc, char **argv) {
  char error[512];
  http_options o = {.handle = handle,
                    .body_limit = body_limit,
                    .may_send = may_send,
                    .body = {wants, begin, piece, end, free_sink}};
  folder = argc > 1 ? argv[1] : ".";
  o.spool_folder = folder;
  for (int i = 2; i + 1 < argc; i += 2) {
    size_t value = strtoul(argv[i + 1], NULL, 10);
    if (strcmp(argv[i], "idle") == 0) o.idle_seconds = (int)value;
    if (strcmp(argv[i], "held") == 0) o.max_held = value;
    if (strcmp(argv[i], "held-per-address") == 0) o.max_held_per_address = value;
    if (strcmp(argv[i], "connections-per-address") == 0) o.max_connections_per_address = (int)value;
    if (strcmp(argv[i], "certificate") == 0) o.certificate = argv[i + 1];
    if (strcmp(argv[i], "key") == 0) o.key = argv[i + 1];
    if (strcmp(argv[i], "proxies") == 0) o.trusted_proxies = argv[i + 1];
  }
  server = http_server_create(&o, error, sizeof error);
  if (!server) return fprintf(stderr, "%s\n", error), 1;
  signal(SIGTERM, stop);
  signal(SIGPIPE, SIG_IGN);
  printf("http-rig listens on http://127.0.0.1:%d\n", http_server_port(server));
  fflush(stdout);
  http_server_run(server, 5);
  http_server_destroy(server);
  return 0;
}
