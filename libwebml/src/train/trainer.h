/* A training in progress. */
#ifndef WML_TRAIN_TRAINER_H
#define WML_TRAIN_TRAINER_H

#include "data/tally.h"
#include "formats/weights.h"
#include "plan/unit.h"

#include <pthread.h>

/* Everything that decides how the rest of the training goes, besides weights and options: what a
 * checkpoint keeps so that a resumed training gives the same bits. */
typedef struct wml_progress_state {
  int64_t epoch;      /* 0-based, running */
  int64_t epoch_step; /* steps done in it */
  int64_t step;       /* optimizer steps done in all */
  double best;        /* of the monitor; NaN before the first epoch */
  int64_t best_epoch; /* 0-based, -1 */
  int64_t stopping_wait, plateau_wait;
  double plateau_best;    /* of the monitor as reduce-on-plateau sees it */
  double rate_factor;     /* product of the reductions on plateaus */
  double seconds;         /* of training, over all starts */
  bool finished, stopped; /* stopped: by webml_trainer_stop() */
} wml_progress_state;

/* A copy of tensors in host memory, row-major. */
typedef struct wml_snapshot {
  int n;
  wml_named_tensor *tensors; /* names: the store's */
  float *data;
} wml_snapshot;

enum {
  WML_UNIT_TRAIN,
  WML_UNIT_TRAIN_REST,
  WML_UNIT_EVALUATE,
  WML_UNIT_EVALUATE_REST,
  WML_N_UNITS
};
enum { WML_MAX_SERIES = 2 + 2 * WEBML_MAX_METRICS + 2 }; /* metrics: and losses of outputs */

typedef struct wml_writer { /* writes checkpoints beside the training */
  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  bool started, stop, busy;
  webml_status status;
  char message[512];
  wml_snapshot snapshot; /* belongs to the writer while busy */
  wml_text state;        /* metadata of the checkpoint being written */
} wml_writer;

/* Rows of a piece and of a window of a shuffle that goes piece by piece. It is made where there are
 * more rows than a window has and they take WML_SHUFFLE_BYTES and more: a rule of the data alone,
 * so that every machine takes the same order. */
enum { WML_SHUFFLE_PIECE = 256, WML_SHUFFLE_WINDOW = 1 << 16, WML_SHUFFLE_BYTES = 1 << 27 };

struct webml_trainer {
  webml_model *given; /* whose description is written */
  webml_model *model; /* the same, or a copy in which layers are frozen */
  webml_device *device;
  webml_train_options options; /* strings are copies in the arena */
  wml_arena arena;
  wml_loaded data;
  wml_store *store;
  wml_unit units[WML_N_UNITS];
  float *class_weight; /* or NULL */
  int64_t *order;      /* permutation of the training rows */
  int64_t *pieces;     /* of it, where the rows are too many to be read in any order; or NULL */
  int64_t order_epoch; /* the epoch it is for */
  float *rates;        /* learning rates of one run */
  double *results, *validation_results;
  wml_progress_state state;
  int n_series;
  const char *series_name[WML_MAX_SERIES];
  double *series[WML_MAX_SERIES]; /* [epochs] each */
  int monitor;                    /* index of the watched series */
  bool monitor_max;
  wml_snapshot best;
  wml_writer writer;
  char *model_json, *pipeline_json;
  atomic_int cancelled, stopping; /* lock-free: a signal handler may set them */
  /* With progress_detail, of validation parts with classes: */
  wml_tally tally;
  const char **class_names; /* [tally.classes] */
  float *outputs;           /* [batch, width] of one step of validation */
};

/* trainer.c: an empty one; webml_trainer_destroy(). device NULL: it only estimates. */
webml_status wml_trainer_new(const webml_model *model, webml_device *device, webml_trainer **out);
/* transfer.c: freezes the layers that the options name. WEBML_ERROR_ARGUMENT. */
webml_status wml_freeze(webml_trainer *t);
/* Takes initial weights over from a file and says which. WEBML_ERROR_MISMATCH. */
webml_status wml_start_from(webml_trainer *t, wml_snapshot *weights);
/* options.c */
const struct wml_option *wml_train_option_list(int *n);
/* Copies the options, fills in defaults and checks ranges. */
webml_status wml_trainer_options(webml_trainer *t, const webml_train_options *given);
/* Options, data and what they must have in common. rows false: of the data set only
 * counts and types are taken, which is what plans are made from. */
webml_status wml_trainer_settle(webml_trainer *t, const webml_dataset *dataset,
                                const webml_train_options *options, bool rows);

/* plans.c: the graphs of the four kinds of step, compiled where there is a device; nothing large is
 * allocated. */
webml_status wml_trainer_plan(webml_trainer *t);
/* What the training will take, of a GPU where there is no device. After wml_trainer_plan(). */
webml_status wml_trainer_need(const webml_trainer *t, webml_training_memory *need);
/* Before there is a data set: samples of the model's own types, so many to train and to validate
 * on; also copies the options. The model is shaped. */
webml_status wml_trainer_assume(webml_trainer *t, const webml_train_options *options,
                                int64_t training, int64_t validation);
/* Refuses what the device or the machine cannot hold, and allocates the plans' memory. */
webml_status wml_trainer_prepare(webml_trainer *t);

/* initialize.c: one parameter's initial values, indexed by its elements. `lane` tells parameters
 * apart. */
webml_status wml_initialize(const wml_param *param, uint64_t seed, uint32_t lane, float *out);

/* schedule.c: the learning rate of a step. */
double wml_learning_rate(const webml_train_options *o, double base, double factor, int64_t step,
                         int64_t steps_per_epoch);

/* snapshot.c */
enum { WML_SNAPSHOT_WEIGHTS, WML_SNAPSHOT_ALL }; /* all: optimizer state and best weights too */
/* Bytes of its values. */
size_t wml_snapshot_bytes(const webml_trainer *t, int what);
webml_status wml_snapshot_create(webml_trainer *t, int what, wml_snapshot *s);
webml_status wml_snapshot_take(webml_trainer *t, wml_snapshot *s);
/* Where the snapshot keeps the tensor of that name, which it has. */
float *wml_snapshot_data(const wml_snapshot *s, const char *name);
void wml_snapshot_free(wml_snapshot *s);

/* detail.c: confusion and mistakes of the validation part, where they are wanted and there are
 * classes; else nothing is allocated and tally.classes is 0. */
webml_status wml_detail_create(webml_trainer *t);
/* Validates step by step, counting what the network says. */
bool wml_detail_wanted(const webml_trainer *t);
void wml_detail_begin(webml_trainer *t);
/* The outputs of one step, for rows first, first + 1, ... of the validation part. */
webml_status wml_detail_count(webml_trainer *t, const wml_unit *unit, int64_t first);
void wml_detail_free(webml_trainer *t);

/* record.c */
/* Whether the weights file gets the best epoch's weights, not those of the end. */
bool wml_keeps_best(const webml_trainer *t);
webml_status wml_record_write(const webml_trainer *t, wml_text *text);
void wml_series_write(const webml_trainer *t, wml_text *text);

/* checkpoint.c */
webml_status wml_writer_start(webml_trainer *t);
void wml_writer_stop(webml_trainer *t);
/* Takes a snapshot and lets the writer write it. `wait`: also waits until it is on disk; else
 * nothing happens while the writer is busy. */
webml_status wml_checkpoint(webml_trainer *t, bool wait);
/* Restores from options.checkpoint_path when it exists. */
webml_status wml_resume(webml_trainer *t);

void wml_trainer_say(const webml_trainer *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int64_t wml_steps_per_epoch(const webml_trainer *t);

#endif
