/* Whose turn it is, and on which device. */
#include "context/events.h"
#include "internal.h"
#include "store/sessions.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* One that was interrupted goes on where it was: elsewhere it would not come to the same bits. */
static device_need need_of(const json_t *session) {
  const char *placed = store_text(session, "placed"), *precision = store_text(session, "precision");
  return (device_need){.wanted = placed ? placed : store_text(session, "device"),
                       .on_cpu = store_integer(session, "need_cpu"),
                       .on_gpu = store_integer(session, "need_gpu"),
                       .bfloat16 = precision && strcmp(precision, "mixed_bfloat16") == 0};
}

/* What the session waits for, device by device. */
static void say_why(const device_state *list, int n, const device_need *need, char *out,
                    size_t size) {
  size_t at = 0;
  out[0] = '\0';
  for (int i = 0; i < n && at + 200 < size; i++) {
    char why[160];
    device_fit fit = device_fits(&list[i], need, why, sizeof why);
    if (fit == FITS || fit == NOT_WANTED) continue;
    at += (size_t)snprintf(out + at, size - at, "%s%s: %s", at ? "; " : "", list[i].name, why);
  }
  if (!at) snprintf(out, size, "there is no device \"%s\" now", need->wanted);
}

static void note_wait(jobs *j, const json_t *session, const char *why) {
  const char *before = store_text(session, "waits_for");
  int64_t id = store_integer(session, "id"), owner = store_integer(session, "owner");
  if (before && strcmp(before, why) == 0) return;
  session_set_waits_for(j->context->store, id, why);
  event_send(j->context, "session", owner, id,
             json_pack("{s:I, s:s, s:s}", "session", (json_int_t)id, "state", "waiting",
                       "waits_for", why));
}

/* The session in whose way this one would be on the device; 0: none. */
static int64_t in_the_way_of(const device_state *d, json_t *const *blocked, int n,
                             const device_need *need) {
  for (int i = 0; i < n; i++) {
    device_need theirs = need_of(blocked[i]);
    if (device_delays(d, &theirs, need)) return store_integer(blocked[i], "id");
  }
  return 0;
}

/* The device on which it may start now; -1: none, and `why`. */
static int place(const device_state *list, int n, json_t *const *blocked, int n_blocked,
                 const json_t *session, bool *ever, char *why, size_t size) {
  device_state left[CHOOSE_MOST_DEVICES];
  device_need need = need_of(session);
  int64_t other = 0;
  memcpy(left, list, (size_t)n * sizeof *left);
  for (int which; (which = device_choose(left, n, &need, ever)) >= 0;) {
    int64_t id = in_the_way_of(&list[which], blocked, n_blocked, &need);
    if (!id) return which;
    other = id;
    left[which].slots = 0;
  }
  if (other)
    snprintf(why, size, "session %lld is before it and waits, too", (long long)other);
  else
    say_why(list, n, &need, why, size);
  return -1;
}

static void give_up(jobs *j, const json_t *session, const char *why) {
  int64_t id = store_integer(session, "id");
  session_set_ended(j->context->store, id, "failed", why, context_now());
  job_tell(j->context, id, store_integer(session, "owner"), "failed", why);
}

/* True: no device will ever hold it or can compute it, not even one that is closed now. */
static bool is_hopeless(const device_state *list, int n, const device_need *need) {
  bool some = false;
  for (int i = 0; i < n; i++) {
    char why[160];
    device_fit fit = device_fits(&list[i], need, why, sizeof why);
    if (fit == FITS || fit == LATER || fit == CLOSED) return false;
    some = some || fit == NEVER || fit == UNABLE;
  }
  return some;
}

/* Starts what can be started; true: some wait on. */
bool queue_start_waiting(jobs *j) {
  enum { MOST_BLOCKED = 32 };
  json_t *rows = sessions_waiting(j->context->store, j->last_owner), *session,
         *blocked[MOST_BLOCKED];
  int n_blocked = 0;
  size_t i;
  json_array_foreach(rows, i, session) {
    device_state list[CHOOSE_MOST_DEVICES];
    char why[1024];
    bool ever;
    int n = monitor_states(j->monitor, list), which = -1;
    which = place(list, n, blocked, n_blocked, session, &ever, why, sizeof why);
    device_need need = need_of(session);
    if (which >= 0) {
      json_object_set_new(session, "placed",
                          json_string(list[which].gpu ? list[which].uuid : list[which].name));
      j->last_owner = store_integer(session, "owner");
      job_start(j, session);
      monitor_wake(j->monitor);
    } else if (is_hopeless(list, n, &need))
      give_up(j, session, why);
    else {
      note_wait(j, session, why);
      if (n_blocked == MOST_BLOCKED) break;
      blocked[n_blocked++] = session;
    }
  }
  json_decref(rows);
  return n_blocked > 0;
}

/* They are over: the weights that they would have begun with need not be kept for them. */
static void tell_rows(const jobs *j, json_t *rows, const char *state, const char *error) {
  json_t *row;
  size_t i;
  json_array_foreach(rows, i, row) {
    char path[CONTEXT_PATH];
    int64_t id = store_integer(row, "id");
    path_of_job(j->context, id, JOB_FIRST_WEIGHTS, path, sizeof path);
    unlink(path);
    job_tell(j->context, id, store_integer(row, "owner"), state, error);
  }
  json_decref(rows);
}

/* Waiting sessions that were cancelled, or whose data set is gone, need no process for it. */
void queue_end_waiting(jobs *j) {
  static const char gone[] = "its data set was deleted";
  tell_rows(j, sessions_cancel_waiting(j->context->store), "cancelled", NULL);
  tell_rows(j, sessions_fail_orphans(j->context->store, gone, context_now()), "failed", gone);
}
