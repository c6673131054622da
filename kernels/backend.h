/* The one door between the library and compute.
 *
 * The library describes a whole step (forward, losses, metrics, gradients, update) as a graph of
 * operations on named tensors. A back end compiles the graph into a plan, says how many bytes the
 * plan needs, and runs it for n steps. Layout is the back end's business: here every tensor is
 * logical and row-major, images NHWC, convolution kernels HWIO, dense kernels [in, out].
 *
 * Ownership: a graph belongs to the caller and may go after compile(). A store outlives its plans.
 * Threads: one caller at a time for one plan, and for all plans of one store; a device may be
 * shared. Errors: a result other than WML_OK, with one sentence given to host->error() before. */
#ifndef WML_BACKEND_H
#define WML_BACKEND_H

#include "common/activation.h"
#include "common/augment.h"
#include "common/binary.h"
#include "common/constraint.h"
#include "common/expand.h"
#include "common/kinds.h"
#include "common/loss.h"
#include "common/metric.h"
#include "common/noise.h"
#include "common/norm.h"
#include "common/optimizer.h"
#include "common/resize.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised with every change of a structure or a meaning below; checked when a module is opened. */
#define WML_BACKEND_VERSION 10u

typedef enum wml_result {
  WML_OK = 0,
  WML_INVALID,       /* the graph or a call is wrong: a defect of the library */
  WML_OUT_OF_MEMORY, /* the allocator refused */
  WML_UNSUPPORTED,   /* this back end cannot do what the graph asks */
  WML_DEVICE_FAILED  /* the vendor's library or the device reported an error */
} wml_result;

enum { WML_MAX_RANK = 4, WML_MAX_OPERANDS = 6, WML_MAX_SLOTS = 5 };

typedef enum wml_dtype { WML_F32, WML_U8, WML_I32 } wml_dtype;

/* Arithmetic of a plan. Weights, statistics, gradients of weights, losses and outputs are float32
 * always. */
typedef enum wml_precision {
  WML_FLOAT32,        /* float32; multiplications in TF32 where the device has it */
  WML_FLOAT32_STRICT, /* float32 throughout */
  WML_MIXED_BFLOAT16  /* values between operations, and what is multiplied, in bfloat16 */
} wml_precision;

typedef enum wml_role {
  WML_ROLE_FEED,  /* rows of a data set, bound at run time; dim[0] is the batch */
  WML_ROLE_PARAM, /* weights: persistent, in the store, shared by name between plans */
  WML_ROLE_STATE, /* moving statistics: persistent, changed by forward operations only */
  WML_ROLE_SLOT,  /* optimizer state: persistent, laid out as its parameter `like` */
  WML_ROLE_GRAD,  /* gradient of the parameter `like`, laid out as it */
  WML_ROLE_VALUE  /* an activation or its gradient: lives within a step */
} wml_role;

typedef struct wml_tensor {
  const char *name; /* unique in the graph */
  wml_dtype dtype;
  wml_role role;
  int rank;
  int64_t dim[WML_MAX_RANK]; /* of values and feeds dim[0] is the batch */
  int like;                  /* index of the parameter for GRAD and SLOT, else -1 */
  /* Quantization, for inference. Where the value that a CONV2D or DENSE reads and its kernel both
   * have scales, the back end may multiply in int8; else it computes in the graph's precision. */
  float scale;         /* of a value: it lies in scale * [0, 255]; 0: not quantized */
  bool is_signed;      /* of a value: in scale * [-128, 127] instead */
  const float *scales; /* of a kernel: [filters], each filter holds scale * [-127, 127] in whole
                          multiples of its scale; outlives the plan. NULL: not quantized */
} wml_tensor;

/* X(symbol, operands). An operand of -1 is absent. Batch first in every shape of a value or feed. A
 * result is set, not added to. The maximum or minimum of elements with a NaN among them is NaN.
 *
 * Broadcasting (BINARY): shapes are aligned at their last dimensions; a dimension of the result is
 * that of both operands, or one of them has 1 there, or has no such dimension. An operand may be a
 * parameter or state, which then is read row-major. Formulas and derivatives: binary.h; places of
 * elements under broadcasting, in boxes and transposed: strides.h.
 *
 * Convolutions: filter f belongs to group f / (filters / groups), so that a depthwise kernel [h, w,
 * channels, multiplier] of Keras is, as it lies, [h, w, 1, channels * multiplier] here.
 * CONV2D_BWD_DATA is a forward operation too, Conv2DTranspose: its kernel has the channels of the
 * result third and those of the operand last, and the window is that of the convolution from the
 * result back to the operand. */
#define WML_OPS(X)                                                                                 \
  X(GATHER)          /* in: feed; out: the rows of this step, or some cells of each; bytes times   \
                        `scale`; float32 cells become whole numbers where the result is i32 */     \
  X(CONV2D)          /* in: x NHWC, kernel HWIO, bias|-1; out: y */                                \
  X(CONV2D_BWD_DATA) /* in: dy, kernel; out: dx */                                                 \
  X(CONV2D_BWD_WEIGHTS) /* in: x, dy; out: dkernel, dbias|-1 */                                    \
  X(DENSE)              /* in: x [rows, in], kernel [in, out], bias|-1; out: y */                  \
  X(DENSE_BWD_DATA)     /* in: dy, kernel; out: dx */                                              \
  X(DENSE_BWD_WEIGHTS)  /* in: x, dy; out: dkernel, dbias|-1 */                                    \
  X(MAXPOOL)            /* in: x; out: y, index|-1 (which element won: the back end's own form) */ \
  X(MAXPOOL_BWD)        /* in: dy, index; out: dx */                                               \
  X(ACTIVATION)         /* in: x; out: y */                                                        \
  X(ACTIVATION_BWD)     /* in: dy, y, x|-1; out: dx */                                             \
  X(BATCHNORM_TRAIN)    /* in: x, gamma|-1, beta|-1, moving mean, moving variance (both updated);  \
                           out: y, batch mean, batch variance (biased) */                          \
  X(BATCHNORM_INFER)    /* in: x, gamma|-1, beta|-1, moving mean, moving variance; out: y */       \
  X(BATCHNORM_BWD)      /* in: dy, x, gamma|-1, mean, variance; out: dx|-1, dgamma|-1, dbeta|-1 */ \
  X(BATCHNORM_BWD_INFER) /* the same for moving statistics, which carry no gradient */             \
  X(DROPOUT)       /* in: x; out: y; the mask is a function of seed, step, stream, element */      \
  X(NOISE)         /* in: x; out: y; drawn as the mask of DROPOUT is */                            \
  X(RESHAPE)       /* in: x; out: y, the same elements in the same order */                        \
  X(TRANSPOSE)     /* in: x; out: y; y.dim[i] = x.dim[axes[i]] */                                  \
  X(CONCAT)        /* in: some, the first that is -1 ends them; out: y, one behind the other along \
                      an axis */                                                                   \
  X(CROP)          /* in: x; out: y, the box of x that begins at `begin` */                        \
  X(PAD)           /* in: x; out: y, zeros around x, which begins at `begin` */                    \
  X(AFFINE)        /* in: x; out: y = scale * x + offset */                                        \
  X(BINARY)        /* in: a, b; out: y, broadcast. Gradients of one parameter are added, too       \
                      (ADD), as they lie */                                                        \
  X(BINARY_BWD)    /* in: dy, a|-1, b|-1 (ADD and SUBTRACT read neither); out: da|-1, db|-1,       \
                      summed over what was broadcast; each may be the gradient of a parameter */   \
  X(REDUCE)        /* in: x; out: y, of x's rank, with 1 where x is reduced */                     \
  X(REDUCE_BWD)    /* in: dy, x|-1, y|-1 (MAX alone reads them: equal shares for all that are the  \
                      greatest); out: dx */                                                        \
  X(MATMUL)        /* in: a, b of one rank; out: y; products of the matrices in the last two       \
                      dimensions, the others being the same in all three */                        \
  X(AVGPOOL)       /* in: x; out: y; padding does not count: the mean of what is there, 0 for a    \
                      window of padding alone */                                                   \
  X(AVGPOOL_BWD)   /* in: dy; out: dx */                                                           \
  X(RESIZE)        /* in: x NHWC; out: y, of another height and width */                           \
  X(RESIZE_BWD)    /* in: dy; out: dx */                                                           \
  X(NORM)          /* in: x, gamma|-1, beta|-1; out: y, mean|-1, factor|-1 (float32, [n * groups]  \
                      of norm.h; the mean of MEAN_VARIANCE alone) */                               \
  X(NORM_BWD)      /* in: dy, x, gamma|-1, mean|-1, factor; out: dx|-1, dgamma|-1, dbeta|-1 */     \
  X(EMBEDDING)     /* in: index i32, table [n, width]; out: y: a row of the table for each index,  \
                      zeros for an index outside */                                                \
  X(EMBEDDING_BWD) /* in: index, dy; out: dtable: sums in the order of the indices */              \
  X(PENALTY)       /* in: x; out: dx|-1; adds l1 * sum |x| + l2 * sum x^2 to the loss */           \
  X(LOSS)          /* in: p, target, sample weight|-1; out: dp|-1 */                               \
  X(METRIC)        /* in: p, target, sample weight|-1 */                                           \
  X(UPDATE)        /* graph->update: regularisers, finite check, clipping, optimizer, constraints */

#define WML_OP_ENUM(symbol) WML_OP_##symbol,
typedef enum wml_op_kind { WML_OPS(WML_OP_ENUM) WML_N_OPS } wml_op_kind;

typedef struct wml_window { /* of a convolution or of a pooling: [rows, columns] */
  int size[2], stride[2], dilation[2], pad_before[2], pad_after[2];
  int groups;
} wml_window;

typedef enum wml_reduction { WML_REDUCE_SUM, WML_REDUCE_MEAN, WML_REDUCE_MAX } wml_reduction;

typedef struct wml_gather {
  float scale;         /* of bytes */
  wml_augment augment; /* of pictures, [h, w, c] bytes */
  /* Of float32 rows: the cells from `first` on; cells 0: all. */
  int64_t first, cells;
  /* Where they are in compact form (expand.h): their widths, which outlive the plan; or NULL. */
  const int32_t *widths;
} wml_gather;

typedef struct wml_op {
  wml_op_kind kind;
  const char *layer; /* the layer it came from, for messages */
  int in[WML_MAX_OPERANDS], out[3];
  union {
    wml_gather gather;
    wml_window window;
    wml_activation activation;
    struct {
      float momentum, epsilon;
    } batchnorm;
    struct {
      float rate;
      uint32_t stream; /* which dropout of the model */
      /* One draw for each sample and channel (the last dimension): the mask's element is
       * sample * channels + channel, for all that lies between. */
      bool per_channel;
    } dropout;
    wml_noise noise;
    int axes[WML_MAX_RANK];      /* of TRANSPOSE */
    int axis;                    /* of CONCAT */
    int64_t begin[WML_MAX_RANK]; /* of CROP and PAD */
    struct {
      float scale, offset;
    } affine;
    wml_binary binary;
    wml_reduction reduction;
    wml_resampling resampling;
    struct {
      bool transpose_a, transpose_b; /* the matrix is read with its dimensions exchanged */
    } matmul;
    wml_norm norm; /* formulas: norm.h */
    struct {
      float l1, l2;
    } penalty;
    struct {
      wml_loss loss;
      float weight;              /* of this loss in the sum */
      const float *class_weight; /* [classes] or NULL; lives as long as the plan */
      int n_classes;
      int result; /* where this loss by itself (without its weight, with those of samples and
                     classes), times the batch size, is added to the results; -1: nowhere */
    } loss;
    struct {
      wml_metric metric;
      int result; /* index of the first double of its state in the results */
    } metric;
  } u;
} wml_op;

/* One parameter of the update. */
typedef struct wml_update_item {
  int param, grad, slot[WML_MAX_SLOTS]; /* absent slots -1; wml_optimizer_slots says
                                                which there are */
  float l1, l2;              /* regularisers: l1*sum|w| + l2*sum(w^2) join loss and gradient */
  float rate_factor;         /* of the learning rate, for this parameter; 1: none */
  wml_constraint constraint; /* applied after the update, and after the moving average has taken
                                the weights */
} wml_update_item;

typedef struct wml_update {
  wml_optimizer optimizer;
  int n_items;
  const wml_update_item *items;
} wml_update;

/* results[0] = sum over batches of (loss * batch size), results[1] = sum of batch sizes; the
 * metrics' states follow. */
enum { WML_RESULT_LOSS = 0, WML_RESULT_COUNT = 1, WML_RESULT_METRICS = 2 };

typedef struct wml_graph {
  int64_t batch;
  wml_precision precision;
  bool deterministic; /* only implementations that give the same bits run after run */
  int n_tensors, n_ops, n_results;
  const wml_tensor *tensors;
  const wml_op *ops; /* in an order in which they can run */
  wml_update update; /* also in a graph without UPDATE: its l1 and l2 belong to the loss */
  int n_outputs;     /* values that read() may be asked for after a run */
  const int *outputs;
} wml_graph;

/* Where a feed's rows are: base points to row 0 of a row-major array in host memory. */
typedef struct wml_feed {
  int tensor;
  const void *base;
  /* How many rows the array has when it stays as it is while the store lives, so that a device may
   * keep a copy; 0: it may be another one, or hold other values, in the next run. */
  int64_t rows;
} wml_feed;

typedef struct wml_run {
  int64_t n_steps;
  int64_t step;   /* optimizer steps done before: the first step of this run is number step+1 */
  uint64_t seed;  /* of dropout and augmentation */
  uint32_t epoch; /* augmentation is drawn anew in each */
  const int64_t *rows; /* [n_steps * batch] row numbers, or NULL: first_row, first_row + 1, ... */
  int64_t first_row;
  int n_feeds;
  const wml_feed *feeds;
  const float *learning_rate; /* [n_steps], NULL without UPDATE */
  double *results;            /* [n_results] added to, not set; NULL when the graph has none */
  int64_t not_finite; /* out: -1, or the step whose loss or gradient was not finite; that step
                         changed no weight and the run ended there */
} wml_run;

typedef struct wml_memory { /* bytes */
  size_t params;            /* weights and moving statistics */
  size_t state;             /* gradients and optimizer state */
  size_t saved;             /* kept from forward to backward */
  size_t scratch;           /* shared by all operations */
} wml_memory;

/* What the library lends to a back end. */
typedef struct wml_host {
  void *(*alloc)(size_t bytes, size_t alignment); /* uninitialised, NULL when refused */
  void (*release)(void *pointer);                 /* NULL is fine */
  void (*error)(const char *format, ...) __attribute__((format(printf, 1, 2)));
  /* The calling thread's message, "" when there is none: messages do not cross threads by
   * themselves. */
  const char *(*last_error)(void);
} wml_host;

typedef struct wml_device_config {
  int index;                /* of the GPU */
  int threads;              /* of the CPU; 0: all cores */
  const char *cache_folder; /* for choices that take time to make; NULL: nowhere. Copied. */
} wml_device_config;

/* What can be opened, as a user is told. */
typedef struct wml_device_info {
  char name[16]; /* "cpu", "cuda:0" */
  char description[160];
  char uuid[48];             /* "" where there is none */
  size_t total, available;   /* bytes of memory; 0: unknown */
  bool bfloat16;             /* takes WML_MIXED_BFLOAT16 */
  bool int8;                 /* multiplies quantized values and kernels in int8 */
  int compute_capability[2]; /* of a GPU; 0 */
  int multiprocessors;       /* of a GPU; 0 */
} wml_device_info;

typedef struct wml_device wml_device;
typedef struct wml_store wml_store;
typedef struct wml_plan wml_plan;

typedef struct wml_backend {
  uint32_t version;
  const char *name;
  /* Fills at most `capacity` infos; *count: how many devices there are. None: WML_UNSUPPORTED, and
   * the error says why. Needs no device. */
  wml_result (*enumerate)(const wml_host *host, wml_device_info *list, int capacity, int *count);
  wml_result (*open)(const wml_host *host, const wml_device_config *config, wml_device **device);
  void (*close)(wml_device *device);
  /* One line of what results depend on: library, version, instruction set. Lives as long
   * as the device. */
  const char *(*identity)(const wml_device *device);
  /* Whether the device multiplies quantized values and kernels in int8. NULL: it does not. */
  bool (*int8)(const wml_device *device);
  /* Bytes of the device's own memory that are free; NULL or 0 where that is the machine's. */
  size_t (*available)(wml_device *device);

  /* Persistent tensors by name. The first plan that names one fixes its layout. */
  wml_result (*store_create)(wml_device *device, wml_store **store);
  void (*store_destroy)(wml_store *store);
  /* host: row-major float32, all elements. */
  wml_result (*put)(wml_store *store, const char *name, const float *host);
  wml_result (*get)(wml_store *store, const char *name, float *host);

  /* Chooses implementations and layouts and plans the memory; allocates nothing large. */
  wml_result (*compile)(wml_store *store, const wml_graph *graph, wml_plan **plan);
  void (*memory)(const wml_plan *plan, wml_memory *memory);
  /* Bytes of the device's own memory that the rows of a feed take beyond memory(), where
   * `available` bytes are free when the plan first runs: a copy of all rows, which the plans of the
   * store share (*kept), or buffers of this plan through which they are sent. Of the feed only
   * tensor and rows are read. NULL where rows are read in the machine's memory. */
  size_t (*feed_memory)(const wml_plan *plan, const wml_feed *feed, size_t available, bool *kept);
  /* Allocates what memory() said, sets store tensors that are new to zero. After it steps allocate
   * nothing. Must come before run(), and before put() of tensors that this plan is first to name.
   */
  wml_result (*prepare)(wml_plan *plan);
  wml_result (*run)(wml_plan *plan, wml_run *run);
  /* Row-major float32 copy of one of the graph's outputs after a run. */
  wml_result (*read)(wml_plan *plan, int tensor, float *host);
  /* The implementation chosen for an operation (0-based), for `--verbose` and for checkpoints; NULL
   * past the last. */
  const char *(*implementation)(const wml_plan *plan, int op);
  void (*plan_destroy)(wml_plan *plan);
} wml_backend;

extern const wml_backend wml_backend_ref;
extern const wml_backend wml_backend_cpu;

/* A back end in a module of its own (libwebml-cuda.so) is found by this name. NULL: the module was
 * made for another version of this file. */
#define WML_MODULE_SYMBOL "wml_backend_module"
typedef const wml_backend *(*wml_module_function)(uint32_t version);

static inline int64_t wml_elements(const wml_tensor *t) {
  int64_t n = 1;
  for (int i = 0; i < t->rank; i++) n *= t->dim[i];
  return n;
}

/* Elements of one row of the batch. */
static inline int64_t wml_row_elements(const wml_tensor *t) {
  int64_t n = 1;
  for (int i = 1; i < t->rank; i++) n *= t->dim[i];
  return n;
}

/* Kept in the store, under its name. */
static inline bool wml_role_is_persistent(wml_role role) {
  return role != WML_ROLE_VALUE && role != WML_ROLE_FEED;
}

/* Row of the data set behind place `at` of a run, counted over its steps. */
static inline int64_t wml_run_row(const wml_run *run, int64_t at) {
  return run->rows ? run->rows[at] : run->first_row + at;
}

static inline size_t wml_dtype_size(wml_dtype dtype) {
  return dtype == WML_U8 ? 1 : 4;
}

#ifdef __cplusplus
}
#endif

#endif
