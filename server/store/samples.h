/* What devices did, as samples of a minute and of a quarter of an hour: means and maxima over the
 * seconds that were seen, and for how many of them whose trainings ran there. */
#ifndef SERVER_STORE_SAMPLES_H
#define SERVER_STORE_SAMPLES_H

#include "store.h"

enum { SAMPLE_FIGURES = 4 }; /* utilisation (percent), memory (bytes), power (W), temperature (C) */

typedef struct sample {
  const char *device;                                    /* "cpu", or the UUID of a GPU */
  int64_t level;                                         /* seconds that it stands for: 60 or 900 */
  int64_t time;                                          /* Unix seconds, a multiple of level */
  double seconds;                                        /* that were seen of them */
  double mean[SAMPLE_FIGURES], greatest[SAMPLE_FIGURES]; /* NAN: not measured */
} sample;

/* Joins it with the sample of that device, level and time, where there is one; of all together no
 * more than `level` seconds count, so that a clock that is put back makes no sums that are too
 * large. */
bool sample_add(store *s, const sample *n);
/* seconds: in which trainings of the user ran there; memory: their mean, in bytes. */
bool sample_add_person(store *s, const sample *of, int64_t user, double seconds, double memory);

/* Samples of from <= time < to by multiples of `step`, itself one of level: time, utilisation,
 * utilisation_max, memory, memory_max, power, power_max, temperature, temperature_max. */
json_t *samples_between(store *s, const char *device, int64_t level, int64_t from, int64_t to,
                        int64_t step);
/* time, user, seconds, memory; by user and time. */
json_t *samples_of_people(store *s, const char *device, int64_t level, int64_t from, int64_t to,
                          int64_t step);

/* Deletes those before `time`; of one device, or NULL: of all, which reads the whole table. */
bool samples_purge(store *s, const char *device, int64_t level, int64_t time);

#endif
