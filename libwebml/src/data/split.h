/* Which samples train, which validate, which are kept for a test. */
#ifndef WML_DATA_SPLIT_H
#define WML_DATA_SPLIT_H

#include "base/status.h"

enum { WML_PART_TRAINING, WML_PART_VALIDATION, WML_PART_TEST, WML_N_PARTS, WML_PART_NONE = 255 };

typedef struct wml_split_options {
  webml_split how;
  double validation, test; /* shares of all samples */
  uint64_t seed;
  int folds, fold; /* folds > 0: fold `fold` of `folds` validates instead of a share */
} wml_split_options;

webml_status wml_split_check(const wml_split_options *o);
/* True where every sample trains. */
bool wml_split_is_none(const wml_split_options *o);
/* parts: [n], WML_PART_NONE stays; the others get their part. classes: [n] for stratified splits,
 * else NULL. Keras's rule: the last rows of tables validate; of each class of pictures the first
 * int(share n) (`first`: classes are given then). */
webml_status wml_split_assign(const wml_split_options *o, int64_t n, const int32_t *classes,
                              int n_classes, bool first, uint8_t *parts);

#endif
