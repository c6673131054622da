/* What the machine's devices do: looked at every 0.75 s, told to listeners when something has
 * changed. */
#ifndef SERVER_DEVICES_MONITOR_H
#define SERVER_DEVICES_MONITOR_H

#include "choose.h"
#include "context/context.h"

typedef struct monitor monitor;

/* Looks once. NULL: no memory. */
monitor *monitor_create(const context *c);
/* Goes on looking in a thread of its own. */
bool monitor_start(monitor *m);
void monitor_stop(monitor *m);
/* When it has stopped, and nobody asks any more. */
void monitor_destroy(monitor *m);

/* A training that runs. */
typedef struct device_run {
  int64_t session, owner, pid; /* pid: 0 until it is known */
  int64_t need_cpu, need_gpu;  /* bytes; what was computed for it */
  char device[96];             /* "cpu" or a GPU's UUID */
} device_run;

/* Who starts trainings: runs() fills `list` with those that run now, at most `most`, and returns
 * their number; changed() is told that devices were looked at: memory that others gave back may be
 * what a training waits for. Called from any thread, neither may ask the monitor. */
typedef struct monitor_source {
  int (*runs)(void *user, device_run *list, int most);
  void (*changed)(void *user);
  void *user;
} monitor_source;
void monitor_set_source(monitor *m, monitor_source source);

/* The last look as JSON, as GET /api/v1/devices answers; the caller's. NULL: no memory. */
json_t *monitor_json(monitor *m);
/* The devices as the queue sees them: with the trainings that run now. Returns their number. */
int monitor_states(monitor *m, device_state list[CHOOSE_MOST_DEVICES]);
/* What a device does now, and for whom. Figures that are not measured are NAN. */
enum { READING_FIGURES = 4, READING_MOST_PEOPLE = 16 };
typedef struct reading_person {
  int64_t user;
  double memory; /* bytes that their trainings hold on the device */
} reading_person;
typedef struct device_reading {
  char id[96];                     /* "cpu" or the UUID of a GPU */
  double figures[READING_FIGURES]; /* utilisation in percent (the CPU's load), memory used in bytes,
                                      power in watts, temperature in degrees Celsius */
  int n_people;                    /* further ones are left out */
  reading_person people[READING_MOST_PEOPLE];
} device_reading;
/* Their number; 0 while the last look is more than some seconds ago, as after the machine slept. */
int monitor_readings(monitor *m, device_reading list[CHOOSE_MOST_DEVICES]);
/* Looks again at once: a training has started or ended, or a device was closed. */
void monitor_wake(monitor *m);

/* Adds the DCGM figures of the last look to a page of metrics. */
typedef void (*monitor_put)(void *page, const char *name, const char *labels, double value);
void monitor_metrics(monitor *m, monitor_put put, void *page);

#endif
