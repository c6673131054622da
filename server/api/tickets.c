#include "tickets.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* MOST: of one account, that were not used yet. PATH: bytes. */
enum { TICKET_SECONDS = 60, MOST = 64, PATH = 200 };

typedef struct ticket {
  struct ticket *next;
  char hash[SECRET_HASH], path[PATH + 1];
  int64_t expires;
  api_user user;
} ticket;

struct api_tickets {
  pthread_mutex_t mutex;
  ticket *list;
};

bool api_tickets_start(api *a) {
  if (!(a->tickets = calloc(1, sizeof *a->tickets))) return false;
  pthread_mutex_init(&a->tickets->mutex, NULL);
  return true;
}

void api_tickets_stop(api *a) {
  if (!a->tickets) return;
  for (ticket *t = a->tickets->list, *next; t; t = next) {
    next = t->next;
    free(t);
  }
  pthread_mutex_destroy(&a->tickets->mutex);
  free(a->tickets);
  a->tickets = NULL;
}

/* ---- under the mutex ---- */

/* Drops what has expired; how many the account has then. */
static int tidy(struct api_tickets *all, int64_t user, int64_t now) {
  int n = 0;
  for (ticket **place = &all->list, *t; (t = *place);) {
    if (t->expires > now) {
      n += t->user.id == user;
      place = &t->next;
    } else {
      *place = t->next;
      free(t);
    }
  }
  return n;
}

static ticket *take(struct api_tickets *all, const char *hash) {
  ticket **place = &all->list, *t;
  while ((t = *place) && strcmp(t->hash, hash) != 0) place = &t->next;
  if (t) *place = t->next;
  return t;
}

/* ---- making one ---- */

/* False: the account has too many. Takes the ticket. */
static bool keep(struct api_tickets *all, ticket *t, int64_t now) {
  pthread_mutex_lock(&all->mutex);
  bool ok = tidy(all, t->user.id, now) < MOST;
  if (ok) {
    t->next = all->list;
    all->list = t;
  }
  pthread_mutex_unlock(&all->mutex);
  if (!ok) free(t);
  return ok;
}

/* Whether there may be a ticket for it; false: answered. */
static bool check_path(api_call *call, const char *path) {
  api_call other = {0};
  const api_route *r = api_find_route("GET", path, &other);
  if (!r || !(r->how & API_TICKET))
    api_fail(call, 422, "the path is not that of a download; see \"ticket\" in /openapi.json");
  else if (r->right == API_ADMIN && !call->user.admin)
    api_fail(call, 403, "this is for administrators");
  else
    return true;
  return false;
}

static void make(api_call *call) {
  char text[SECRET_TEXT];
  const char *path = api_text(call, "path");
  int64_t now = context_now();
  if (!check_path(call, path)) return;
  ticket *t = calloc(1, sizeof *t);
  if (!t) {
    api_fail(call, 503, "out of memory");
    return;
  }
  secret_make(text);
  secret_hash(text, t->hash);
  snprintf(t->path, sizeof t->path, "%s", path);
  t->expires = now + TICKET_SECONDS;
  t->user = call->user;
  if (keep(call->api->tickets, t, now))
    api_reply(call, 201,
              json_pack("{s:s, s:o, s:I}", "ticket", text, "url",
                        json_sprintf("%s?ticket=%s", path, text), "expires",
                        (json_int_t)now + TICKET_SECONDS));
  else
    api_fail(call, 429, "%d tickets of this account were not used yet", MOST);
}

/* ---- using it ---- */

/* In the query as sent: a ticket has no character that is encoded. NULL: there is none. */
static const char *find(const char *query) {
  static const char name[] = "ticket=";
  for (const char *p = query; p; p = strchr(p, '&')) {
    p += *p == '&';
    if (strncmp(p, name, sizeof name - 1) == 0) return p + sizeof name - 1;
  }
  return NULL;
}

bool api_has_ticket(const api_call *call) {
  return call->route->how & API_TICKET && find(http_query(call->request)) &&
         !http_header(call->request, "authorization");
}

static ticket *take_of(api_call *call) {
  char text[SECRET_TEXT], hash[SECRET_HASH];
  const char *from = find(http_query(call->request));
  struct api_tickets *all = call->api->tickets;
  if (strcspn(from, "&") != sizeof text - 1) return NULL;
  memcpy(text, from, sizeof text - 1);
  text[sizeof text - 1] = '\0';
  secret_hash(text, hash);
  pthread_mutex_lock(&all->mutex);
  tidy(all, 0, context_now());
  ticket *t = take(all, hash);
  pthread_mutex_unlock(&all->mutex);
  return t;
}

bool api_use_ticket(api_call *call, http_refusal *refusal) {
  static const char *const bad = "the ticket is not valid: it is for one GET of its path, within a "
                                 "minute; get another one";
  *refusal = (http_refusal){.status = 401};
  snprintf(refusal->sentence, sizeof refusal->sentence, "%s", bad);
  if (strcmp(http_method(call->request), "GET") != 0) return false; /* HEAD: it is kept */
  ticket *t = take_of(call);
  if (!t) return false;
  /* The log-in counts, not how long its token would have: as for a download that goes on. */
  t->user.expires = INT64_MAX;
  bool ok = strcmp(t->path, http_path(call->request)) == 0 &&
            api_may_go_on(call->api, &t->user, context_now());
  if (ok) call->user = t->user;
  free(t);
  return ok;
}

static const api_field fields[] = {{"path", API_TEXT, true, false, 1, PATH,
                                    "of the download, without a query: /api/v1/weights/1/file",
                                    NULL},
                                   {0}};

static const shape_member ticket_members[] = {
    {"ticket", SHAPE_TEXT, 0, "shown this once", NULL, NULL},
    {"url", SHAPE_TEXT, 0, "the path with the ticket; further parameters may follow", NULL, NULL},
    {"expires", SHAPE_TIME, 0, NULL, NULL, NULL},
    {0}};
static const answer_shape ticket_shape = {"Ticket", ticket_members, NULL, NULL};

static const api_route routes[] = {
    {.id = "createTicket",
     .method = "POST",
     .path = "/api/v1/tickets",
     .right = API_USER,
     .about = "a ticket for one GET of a download within a minute, in place of a token",
     .fields = fields,
     .run = make,
     .answer = &ticket_shape},
    {0}};

const api_resource api_tickets = {"tickets", "One-time tickets for downloads.", routes};
