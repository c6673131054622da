/* An opened data set, and the samples that a model gets from it. */
#ifndef WML_DATA_DATASET_H
#define WML_DATA_DATASET_H

#include "data/pipeline.h"
#include "data/table.h"
#include "model/model.h"

#include <stdatomic.h>

enum { WML_PART_TRAINING, WML_PART_VALIDATION, WML_N_PARTS };

typedef struct wml_image_file {
  const char *path;
  int32_t label;
} wml_image_file;

/* Images of one part: files to be decoded, or pixels from an IDX file. */
typedef struct wml_image_part {
  int64_t n;
  wml_image_file *files;
  uint8_t *pixels; /* [n, height, width, 1] of an IDX file */
  int32_t *labels; /* [n] of an IDX file */
  int height, width;
} wml_image_part;

struct webml_dataset {
  atomic_int references;
  wml_arena arena;
  const char *path;
  double validation_split;
  bool skip_broken;
  const char *inputs, *outputs, *one_hot; /* or NULL */
  wml_format format;
  wml_table table;
  int n_classes;
  const char **classes;
  wml_image_part parts[WML_N_PARTS];
};

webml_dataset *wml_dataset_retain(const webml_dataset *dataset);

/* folder.c, idx.c: fill classes and parts. */
webml_status wml_folder_open(webml_dataset *dataset);
bool wml_idx_present(const char *folder);
webml_status wml_idx_open(webml_dataset *dataset);
/* Reads one IDX file, plain or gzip: images give [n, height, width], labels [n]. For tests and
 * fuzzing too. */
webml_status wml_idx_read(const char *path, int rank, int64_t dims[3], uint8_t **bytes);

/* Rows as a plan is fed with them. */
typedef struct wml_samples {
  int64_t n;
  wml_dtype input_type, target_type; /* U8 or F32; I32 (class) or F32 */
  void *input, *target;              /* row-major, owned */
  int64_t input_width, target_width; /* elements of a row */
} wml_samples;

typedef struct wml_loaded {
  wml_samples parts[WML_N_PARTS];
  wml_pipeline pipeline;
  uint64_t fingerprint; /* of every byte that training sees */
  int64_t skipped;      /* broken images left out */
} wml_loaded;

/* given: the pipeline of a weights file, or NULL to fit one on the training part. */
webml_status wml_dataset_load(const webml_dataset *dataset, const webml_model *model,
                              const wml_pipeline *given, wml_loaded *loaded);
void wml_loaded_free(wml_loaded *loaded);

/* Which columns are inputs and outputs: the options' choice, else the model's, else all but the
 * last, and the last. Freed with wml_selection_free(). */
webml_status wml_dataset_select(const webml_dataset *dataset, const webml_model *model,
                                wml_selection *selection);
void wml_selection_free(wml_selection *selection);
/* Rows of the training part of a table. */
int64_t wml_dataset_training_rows(const webml_dataset *dataset);

#endif
