/* Learning curves: the figures of a training, from the lines that it wrote (jobs/<id>/progress),
 * thinned so that peaks stay. What was read of a file is kept with its offset: the next call reads
 * what is new. Memory is bounded, whatever the file's length. Any thread. */
#ifndef SERVER_JOBS_CURVE_H
#define SERVER_JOBS_CURVE_H

#include "context/context.h"

typedef struct curves curves;

/* NULL: no memory. */
curves *curves_create(const context *c);
void curves_destroy(curves *c);

enum { CURVE_LEAST_POINTS = 50, CURVE_MOST_POINTS = 2000 };

/* {"columns": {"steps", "epochs", "loss", each metric, "val_loss", ..., "learning_rate"}, "lines",
 * "best"}: columns are of one length, at most `points`; null where a line has no such figure.
 * steps count from the training's first. by_epoch: of the lines at the ends of epochs, with the
 * validation's figures; else of all lines. lines: how many there were. best: the figures of the
 * last epoch that improved on those before it, or null. The caller's; NULL: no memory.
 *
 * Thinning: the range of steps is cut into equal buckets, of which each keeps the lines with the
 * least and the greatest value of every column, beside the first and the last line of all. This is
 * the min-max aggregation of U. Jugel, Z. Jerzak, G. Hackenbroich, V. Markl: "M4: A
 * Visualization-Oriented Time Series Data Aggregation", VLDB 7 (2014), section 4. */
json_t *curve_json(curves *c, int64_t session, bool by_epoch, int points);

#endif
