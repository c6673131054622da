/* Bodies that are handed on while they come. The loop fills one block of memory while a thread
 * gives the other to the caller's functions, which may block; when both are full, the connection is
 * not read (http1.c, http2.c). One job of a body is under way at a time, so its calls come in
 * order. */
#include "incoming.h"

#include <stdlib.h>
#include <string.h>

enum { BEGIN, PIECE, END };

/* ---- threads ---- */

static void *work(void *arg) {
  http_writers *w = arg;
  pthread_mutex_lock(&w->mutex);
  for (;;) {
    while (!w->first && !w->stop) pthread_cond_wait(&w->some, &w->mutex);
    if (!w->first) break;
    http_incoming *b = w->first;
    w->first = b->next;
    if (!w->first) w->last = &w->first;
    pthread_mutex_unlock(&w->mutex);
    b->run(b);
    http_post(b->loop, &b->super);
    pthread_mutex_lock(&w->mutex);
  }
  pthread_mutex_unlock(&w->mutex);
  return NULL;
}

bool http_writers_start(http_writers *w) {
  pthread_mutex_init(&w->mutex, NULL);
  pthread_cond_init(&w->some, NULL);
  w->last = &w->first;
  while (w->n < HTTP_WRITERS && pthread_create(&w->threads[w->n], NULL, work, w) == 0) w->n++;
  return w->n > 0;
}

void http_writers_stop(http_writers *w) {
  pthread_mutex_lock(&w->mutex);
  w->stop = true;
  pthread_cond_broadcast(&w->some);
  pthread_mutex_unlock(&w->mutex);
  for (int i = 0; i < w->n; i++) pthread_join(w->threads[i], NULL);
  w->n = 0;
}

static void submit(http_incoming *b, void (*run)(http_incoming *b)) {
  http_writers *w = &b->loop->server->writers;
  b->busy = true;
  b->run = run;
  b->next = NULL;
  pthread_mutex_lock(&w->mutex);
  *w->last = b;
  w->last = &b->next;
  pthread_cond_signal(&w->some);
  pthread_mutex_unlock(&w->mutex);
}

/* ---- jobs, on a thread ---- */

static const http_body_functions *functions_of(const http_incoming *b) {
  return &b->loop->server->options.body;
}

static void run_begin(http_incoming *b) {
  void *user = b->loop->server->options.user;
  b->request->object = functions_of(b)->begin(b->request, b->announced, &b->refusal, user);
  b->begun = b->request->object != NULL;
  if (!b->begun && !b->refusal.status) b->refusal.status = 500;
}

static void run_piece(http_incoming *b) {
  if (!functions_of(b)->piece(b->request->object, b->writing, b->n_writing, &b->refusal) &&
      !b->refusal.status)
    b->refusal.status = 500;
  b->n_writing = 0;
}

static void run_end(http_incoming *b) {
  functions_of(b)->end(b->request->object, b->whole && !b->broken);
  b->ended = true;
}

/* ---- on the loop ---- */

static void discard(http_incoming *b) {
  http_request_release(b->request);
  free(b->filling);
  free(b->writing);
  free(b);
}

/* The next job; false: there is none. */
static bool next_job(http_incoming *b) {
  bool all = b->whole || b->broken;
  if (!b->begun || b->ended) return false;
  if (b->n_filling && !b->refusal.status && (all || b->n_filling >= HTTP_BLOCK / 2)) {
    char *block = b->filling;
    b->filling = b->writing;
    b->writing = block;
    b->n_writing = b->n_filling;
    b->n_filling = 0;
    submit(b, run_piece);
    return true;
  }
  if (!all && !b->refusal.status) return false;
  submit(b, run_end);
  return true;
}

static void run_done(http_message *message) {
  http_incoming *b = (http_incoming *)message;
  b->busy = false;
  if (b->refusal.status && !b->told) {
    b->told = true;
    b->broken = true;
    if (b->connection) b->refuse(b); /* may break it off */
  }
  if (next_job(b)) {
    if (b->connection) b->resume(b);
    return;
  }
  bool over = b->ended || !b->begun;
  if (over && b->connection && !b->broken && !b->deliver(b)) return;
  if (over)
    discard(b);
  else if (b->connection)
    b->resume(b);
}

http_incoming *http_incoming_start(http_connection *c, http_request *request, uint64_t announced) {
  http_incoming *b = calloc(1, sizeof *b);
  if (!b) return NULL;
  b->super.run = run_done;
  b->loop = c->loop;
  b->connection = c;
  b->request = request;
  b->announced = announced;
  b->filling = malloc(HTTP_BLOCK);
  b->writing = malloc(HTTP_BLOCK);
  if (b->filling && b->writing) {
    submit(b, run_begin);
    return b;
  }
  free(b->filling);
  free(b->writing);
  free(b);
  return NULL;
}

size_t http_incoming_room(const http_incoming *b) {
  return HTTP_BLOCK - b->n_filling;
}

void http_incoming_put(http_incoming *b, const void *bytes, size_t size) {
  memcpy(b->filling + b->n_filling, bytes, size);
  b->n_filling += size;
  b->total += size;
  if (!b->busy) next_job(b);
}

void http_incoming_finish(http_incoming *b) {
  b->whole = true;
  if (!b->busy) next_job(b);
}

void http_incoming_break(http_incoming *b) {
  b->connection = NULL;
  b->broken = true;
  if (!b->busy && !next_job(b)) discard(b);
}
