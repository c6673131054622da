/* An opened data set, and the samples that a model gets from it. */
#ifndef WML_DATA_DATASET_H
#define WML_DATA_DATASET_H

#include "base/region.h"
#include "data/images/pictures.h"
#include "data/pipeline.h"
#include "data/split.h"
#include "data/table_samples.h"
#include "model/model.h"

#include <stdatomic.h>

struct webml_dataset {
  atomic_int references;
  wml_arena arena;
  const char *path;
  wml_format format;
  wml_split_options split;
  bool skip_broken;
  const char *cache; /* folder, or NULL */
  /* tables */
  const char *inputs, *outputs, *one_hot, *missing, *scale; /* or NULL */
  wml_table table, validation_table;                        /* the second has no rows without one */
  /* images */
  wml_pictures pictures;
  wml_picture_options picture_options;
};

/* options.c */
const struct wml_option *wml_dataset_option_list(int *n);
webml_dataset *wml_dataset_retain(const webml_dataset *dataset);
/* A file of the cache folder for this data set: a name made of its path and `what`. NULL in *path
 * where there is no cache. wml_free(*path). */
webml_status wml_dataset_cache_path(const webml_dataset *dataset, const char *path,
                                    const char *suffix, char **cache);

/* Rows as a plan is fed with them. */
typedef struct wml_samples {
  int64_t n;
  const int64_t *rows;               /* [n] rows of the arrays below, or NULL: 0 to n - 1 */
  wml_dtype input_type, target_type; /* U8 or F32; I32 (class) or F32 */
  const void *input, *target;        /* row-major */
  int64_t stored;                    /* rows of these arrays: n or more */
  int64_t input_width, target_width; /* elements of a row as the network sees it */
  /* Compact rows (kernels/common/expand.h): so many cells with these widths; 0: not compact. */
  int input_cells, target_cells;
  const int32_t *input_widths, *target_widths;
} wml_samples;

/* How they lie for a step of the model: each of its inputs and outputs as a range of the rows. */
void wml_samples_feeds(const wml_samples *s, const webml_model *model, const wml_pipeline *pipeline,
                       wml_feed_spec *inputs, wml_feed_spec *targets);

static inline int64_t wml_sample_row(const wml_samples *s, int64_t i) {
  return s->rows ? s->rows[i] : i;
}

typedef struct wml_loaded {
  wml_samples parts[WML_N_PARTS];
  wml_pipeline pipeline;
  uint64_t fingerprint; /* of every byte that training sees */
  int64_t skipped;      /* broken images left out */
  int64_t unknown;    /* input cells of validation and test rows with a value not met in training */
  size_t memory;      /* bytes of the arrays that are in memory, not in a file */
  int64_t duplicates; /* pictures that are in the training part and in another, too */
  /* what the parts point into */
  wml_region input[WML_N_PARTS], target[WML_N_PARTS];
  int32_t *widths;
  int64_t *rows;
} wml_loaded;

/* given: the pipeline of a weights file, or NULL to fit one on the training part. parts: bits 1 <<
 * WML_PART_...; the others stay empty. */
enum { WML_ALL_PARTS = (1 << WML_N_PARTS) - 1 };
/* Beside the parts: no row is read and no array made. `input` and `target` are then good for one
 * thing only, to be compared: whether two parts have one array. Broken pictures count as well. */
enum { WML_WITHOUT_ROWS = 1 << 8 };
webml_status wml_dataset_load(const webml_dataset *dataset, const webml_model *model,
                              const wml_pipeline *given, unsigned parts, wml_loaded *loaded);
/* Nothing loaded; what wml_loaded_free() leaves. */
void wml_loaded_clear(wml_loaded *loaded);
void wml_loaded_free(wml_loaded *loaded);

/* Which columns are inputs and outputs: the options' choice, else the model's, else all but the
 * last, and the last. Freed with wml_selection_free(). */
webml_status wml_dataset_select(const webml_dataset *dataset, const webml_model *model,
                                wml_selection *selection);
/* The columns of any table that a fitted pipeline reads, with the data set's choices. */
webml_status wml_select_like(const webml_dataset *dataset, const wml_table *table,
                             const wml_pipeline *pipeline, wml_selection *selection);
void wml_selection_free(wml_selection *selection);

/* encode.c: the parts of a table, fitted or by a given pipeline. */
webml_status wml_load_table(const webml_dataset *dataset, const webml_model *model,
                            const wml_pipeline *given, unsigned parts, wml_loaded *loaded);
/* load_images.c */
webml_status wml_load_images(const webml_dataset *dataset, const webml_model *model,
                             const wml_pipeline *given, unsigned parts, wml_loaded *loaded);

#endif
