/* Looking at data sets: `webml inspect` in a process of its own, three at once, of one account two,
 * accounts taking turns. The owner hears of the result by the event "dataset". */
#ifndef SERVER_JOBS_INSPECT_H
#define SERVER_JOBS_INSPECT_H

#include "tool.h"

typedef struct inspections inspections;

/* Takes up those that an earlier start has left. NULL: no memory. */
inspections *inspections_create(const context *c, tools *t);
/* When the tools have stopped: what was not looked at is by the next start. */
void inspections_destroy(inspections *i);

/* Looks at the file of a data set whose state is "checking". False: no memory, or so many of the
 * owner's wait already that the next start has to. */
bool inspection_start(inspections *i, int64_t dataset, int64_t owner, const char *name,
                      const char *file);

#endif
