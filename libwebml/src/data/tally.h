/* Counting the classes that a network says: the confusion matrix and the surest mistakes. */
#ifndef WML_DATA_TALLY_H
#define WML_DATA_TALLY_H

#include "data/dataset.h"

enum { WML_MOST_MISTAKES = 25 };

typedef struct wml_tally {
  int classes;
  int64_t *confusion; /* [classes, classes] by truth and by what was said; NULL: not counted */
  int most, n;        /* mistakes that are kept */
  webml_mistake mistakes[WML_MOST_MISTAKES]; /* the surest first */
} wml_tally;

/* One label, or one binary column, has classes: their number; 0: anything else. */
int wml_pipeline_classes_of(const wml_pipeline *pipeline);
/* row: of the samples' arrays; y: [width] what the network gave for it. */
void wml_tally_row(wml_tally *tally, const wml_samples *samples, int64_t row, const float *y,
                   int64_t width);

#endif
