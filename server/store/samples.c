#include "samples.h"

/* The joint mean where both have one, else the one that there is. */
#define JOIN(c)                                                                                    \
  c " = COALESCE((" c " * seconds + excluded." c " * excluded.seconds)"                            \
    " / (seconds + excluded.seconds), " c ", excluded." c "), " c "_max = max(COALESCE(" c         \
    "_max, excluded." c "_max), COALESCE(excluded." c "_max, " c "_max)), "

bool sample_add(store *s, const sample *n) {
  return store_run(s,
                   "INSERT INTO samples (device, level, time, seconds, utilisation,"
                   " utilisation_max, memory, memory_max, power, power_max, temperature,"
                   " temperature_max) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                   " ON CONFLICT (device, level, time) DO UPDATE SET " JOIN("utilisation")
                       JOIN("memory") JOIN("power")
                           JOIN("temperature") "seconds = min(level, seconds + excluded.seconds)",
                   "siiddddddddd", n->device, n->level, n->time, n->seconds, n->mean[0],
                   n->greatest[0], n->mean[1], n->greatest[1], n->mean[2], n->greatest[2],
                   n->mean[3], n->greatest[3]) >= 0;
}

bool sample_add_person(store *s, const sample *of, int64_t user, double seconds, double memory) {
  return store_run(s,
                   "INSERT INTO samples_of_people (device, level, time, user, seconds, memory)"
                   " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (device, level, time, user) DO UPDATE"
                   " SET memory = (memory * seconds + excluded.memory * excluded.seconds) /"
                   " (seconds + excluded.seconds), seconds = min(level, seconds +"
                   " excluded.seconds)",
                   "siiidd", of->device, of->level, of->time, user, seconds, memory) >= 0;
}

#define MEAN(c)                                                                                    \
  ", SUM(" c " * seconds) / SUM(CASE WHEN " c " IS NOT NULL THEN seconds END) AS " c ", MAX(" c    \
  "_max) AS " c "_max"

json_t *samples_between(store *s, const char *device, int64_t level, int64_t from, int64_t to,
                        int64_t step) {
  return store_rows(s,
                    "SELECT time / ?5 * ?5 AS time" MEAN("utilisation") MEAN("memory") MEAN("power")
                        MEAN("temperature") " FROM samples WHERE device = ?1 AND level = ?2 AND"
                                            " time >= ?3 AND time < ?4 GROUP BY 1",
                    "siiii", device, level, from, to, step);
}

json_t *samples_of_people(store *s, const char *device, int64_t level, int64_t from, int64_t to,
                          int64_t step) {
  return store_rows(s,
                    "SELECT user, time / ?5 * ?5 AS time, SUM(seconds) AS seconds,"
                    " SUM(memory * seconds) / SUM(seconds) AS memory FROM samples_of_people"
                    " WHERE device = ?1 AND level = ?2 AND time >= ?3 AND time < ?4"
                    " GROUP BY 1, 2",
                    "siiii", device, level, from, to, step);
}

bool samples_purge(store *s, const char *device, int64_t level, int64_t time) {
  return store_run(s,
                   device ? "DELETE FROM samples WHERE device = ? AND level = ? AND time < ?"
                          : "DELETE FROM samples WHERE ? IS NULL AND level = ? AND time < ?",
                   "sii", device, level, time) >= 0 &&
         store_run(s,
                   device
                       ? "DELETE FROM samples_of_people WHERE device = ? AND level = ? AND time < ?"
                       : "DELETE FROM samples_of_people WHERE ? IS NULL AND level = ? AND time < ?",
                   "sii", device, level, time) >= 0;
}
