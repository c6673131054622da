/* The CUDA back end: cuDNN and cuBLASLt for what they do best, own kernels for the rest.
 *
 * Values lie NHWC and row-major, as float32 or, under mixed_bfloat16, as bfloat16; what the loss,
 * the metrics and the caller read is float32. Convolution kernels lie [F, kh, kw, C] (cuDNN's
 * filter of NHWC), everything else of the store as the graph says. A step is captured once into a
 * CUDA graph; what changes from step to step lies in device memory (cuda_state), so that running n
 * steps is n launches and no other work of the host.
 *
 * Own kernels never add with atomics: their sums are formed in a fixed order, and a step gives the
 * same bits each time. */
#ifndef WML_CUDA_H
#define WML_CUDA_H

#include "../backend.h"
#include "../common/packing.h"

#include <cuda_runtime_api.h>
#include <pthread.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cuda_type { CUDA_F32_T, CUDA_BF16_T, CUDA_I32_T, CUDA_U8_T } cuda_type;

static inline size_t cuda_type_size(cuda_type type) {
  return type == CUDA_BF16_T ? 2 : type == CUDA_U8_T ? 1 : 4;
}

/* An array in device memory, as kernels take it. */
typedef struct cuda_view {
  void *data;
  cuda_type type;
} cuda_view;

/* Feeds: 16 inputs, as many targets, and weights of samples for each of those. */
enum { CUDA_MAX_FEEDS = 48, CUDA_BUFFERS = 2, CUDA_PENALTY_BLOCKS = 256 };

/* What changes between steps; one per plan, in device memory. The host fills it before a chunk of
 * steps, a step moves it on when its gradients are known. */
typedef struct cuda_state {
  int64_t index; /* of the step within the chunk */
  int64_t step;  /* optimizer steps before this one */
  uint64_t seed;
  uint32_t epoch;
  /* Of the whole run, not of a chunk: from here .. */
  int32_t side;       /* where the weights that have two sides are now */
  int64_t not_finite; /* number of the first step that was not, or -1: after it nothing changes */
  /* .. to here. */
  double loss;                          /* of this step so far */
  double norm[2];                       /* of a variable and of its direction: lamb */
  const void *base[CUDA_MAX_FEEDS];     /* rows of each feed */
  const int64_t *place[CUDA_MAX_FEEDS]; /* [steps * batch] row in base */
  const int64_t *sample;                /* [steps * batch] row of the data set */
  const wml_optimizer_step *rates;      /* [steps] */
} cuda_state;

/* What an update reads of its step, kept while the state has moved on. */
typedef struct cuda_turn {
  int32_t open; /* weights may change */
  float factor; /* what gradients are multiplied by: clipping */
  wml_optimizer_step rates;
} cuda_turn;

typedef struct cuda_dnn cuda_dnn;
typedef struct cuda_blas cuda_blas;

struct wml_device {
  wml_host host;
  int index;
  bool planning;  /* no GPU behind it: compile() only (tests without a GPU) */
  int capability; /* 90: 9.0 */
  int multiprocessors;
  cuda_dnn *dnn;         /* NULL where the library is not there */
  cuda_blas *blas;       /* likewise */
  pthread_mutex_t mutex; /* of the vendor's handles, and of `failed` */
  char failed[160];      /* the error after which the device takes no more calls, or "" */
  char identity[240];
  char tuning_file[600];   /* "" : nothing is remembered */
  size_t memory;           /* of the card */
  bool profile;            /* WEBML_CUDA_PROFILE: after its first run a plan times its operations */
  int64_t branch_elements; /* WEBML_CUDA_BRANCH_ELEMENTS: see branch.c; 0: no branches */
  int64_t graph_steps;     /* WEBML_CUDA_GRAPH_STEPS: steps in one graph */
  bool asides;             /* WEBML_CUDA_ASIDES: 0 for none */
};

/* A persistent tensor. Its bytes lie in the store's blocks. Those that an update on a branch
 * changes have two sides: a step reads one and writes the other, and between runs they are on side
 * 0. */
typedef struct cuda_entry {
  struct cuda_entry *next;
  char *name;
  int64_t elements;
  int64_t kernel[4]; /* of a convolution: [kh, kw, c, f], kept as [f, kh, kw, c]; else 0 */
  bool weight;       /* a parameter: has a bfloat16 copy under mixed precision */
  float *data[2];
  void *half[2]; /* that copy, or NULL */
} cuda_entry;

typedef struct cuda_block {
  struct cuda_block *next;
  void *data;
} cuda_block;

/* A data set's array that is kept on the device. */
typedef struct cuda_resident {
  struct cuda_resident *next;
  const void *base;
  size_t bytes;
  void *data; /* NULL: does not fit, rows are sent with each chunk */
} cuda_resident;

struct wml_store {
  wml_device *device;
  cudaStream_t stream;
  cuda_entry *entries;
  cuda_block *blocks;
  cuda_resident *residents;
  bool settled; /* a plan has fixed the precision */
  wml_precision precision;
};

typedef struct cuda_tensor {
  wml_tensor info;
  bool narrow; /* a bfloat16 value under mixed precision */
  cuda_type type;
  size_t bytes;
  int alias;
  int first, last;
  bool pinned;
  size_t offset;
  cuda_entry *entry;
  void *data; /* after prepare(); of an entry with two sides the one that is read: cuda_face() */
  void *half;
  const void *host; /* of an output: where a run copies it to */
} cuda_tensor;

typedef struct cuda_call {
  const wml_plan *plan;
  cudaStream_t stream;
  int side;          /* which is read */
  bool moves_on;     /* a whole step; else one operation of it, to time it */
  int joined;        /* while recording: the last operation aside that has been waited for */
  wml_result result; /* of a vendor's call; kernels' launches are asked about afterwards */
} cuda_call;

typedef struct cuda_node cuda_node;

struct cuda_node {
  wml_op op;        /* operands are tensors of the plan */
  bool relu;        /* relu is fused behind a convolution or a dense layer */
  int pooled;       /* MAXPOOL_BWD: relu before the pooling is undone by this value; or -1 */
  bool pools;       /* a convolution that pools its result 2x2, or its weights' gradient with that
                       pooling's: out[1] or in[2] is the index, `pooled` the pooled value */
  const char *name; /* of the implementation */
  const char *why;  /* an implementation that declined says why */
  char text[96];    /* where a name with its time is made */
  int temp[3];      /* temporaries, or -1 */
  void *constant;   /* device copy of an array that the operation points to, or NULL */
  void (*run)(cuda_call *call, const cuda_node *node);
  void *vendor; /* the vendor's plan */
  void (*release)(wml_device *device, void *vendor);
  bool aside;                       /* runs beside what comes after it: aside.c */
  cudaEvent_t ran;                  /* of those */
  const struct cuda_tuning *tuning; /* where the vendor's plan has a choice, else NULL */
};

/* Neighbours among the update's items. */
typedef struct cuda_range {
  int first, count;
  int64_t n;       /* floats in the flat buffers */
  int64_t squares; /* where its sums of squares begin */
  int node;        /* the operation behind which a branch updates it, or -1: with the rest */
  int turn;        /* of the branch; 0 is the rest's */
  bool pending;    /* while recording: the branch has not been joined */
  cudaEvent_t looked, done;
} cuda_range;

typedef struct cuda_feed {
  int tensor;
  size_t row_bytes;
} cuda_feed;

struct wml_plan {
  wml_store *store;
  wml_device *device;
  wml_graph graph; /* its scalars and its update; other arrays are the nodes and tensors here */
  int n_tensors, capacity;
  cuda_tensor *tensors;
  int n_nodes;
  cuda_node *nodes;
  int *outputs;
  size_t arena_bytes, constant_bytes; /* of the device; constants: see cuda_node */
  uint8_t *arena;
  size_t output_offset, output_bytes; /* of all outputs in the arena */
  uint8_t *host_outputs;              /* pinned memory that a run ends by copying them into */
  int64_t chunk;                      /* steps that are sent to the device at a time */
  cuda_state *state;                  /* device */
  double *results;                    /* device: [n_results] */
  double *penalty;                    /* device: [CUDA_PENALTY_BLOCKS] */
  int n_ranges, n_turns;
  cuda_range *ranges; /* of the update's items, in their order */
  double *squares;    /* device: sums over pieces of the gradient */
  int64_t n_squares;
  cuda_turn *turns;                        /* device: [n_turns] */
  cudaStream_t branch;                     /* of updates, or NULL: there are none */
  cudaStream_t side;                       /* of what runs aside, or NULL: nothing does */
  cudaEvent_t fork;                        /* where another stream begins */
  int64_t *rows[CUDA_BUFFERS];             /* device: [chunk * batch] */
  wml_optimizer_step *rates[CUDA_BUFFERS]; /* device: [chunk] */
  int n_feeds;
  cuda_feed feeds[CUDA_MAX_FEEDS];
  struct cuda_direct *direct;   /* direct.c; NULL: runs go in chunks */
  struct cuda_staging *staging; /* run.c */
  cudaGraphExec_t step_exec[2]; /* a step that reads side 0, side 1 */
  cudaGraphExec_t steps_exec;   /* device->graph_steps steps from side 0, once a run has so many */
  bool in_order;                /* nothing runs aside: memory matters more */
  bool prepared, profiled;
};

/* ---- plan.c ---- */
wml_result cuda_plan_create(wml_store *store, const wml_graph *graph, wml_plan **plan);
void cuda_plan_memory(const wml_plan *plan, wml_memory *memory);
size_t cuda_feed_memory(const wml_plan *plan, const wml_feed *feed, size_t available, bool *kept);
bool cuda_same_bytes(const wml_plan *plan, int a, int b); /* tensors, either may be -1: false */
bool cuda_reads(const wml_plan *plan, int node, int tensor);
bool cuda_writes(const wml_plan *plan, int node, int tensor);
wml_result cuda_plan_prepare(wml_plan *plan);
void cuda_plan_destroy(wml_plan *plan);
/* A tensor's index, or -1: no memory. The caller puts it into its node's `temp`. */
int cuda_add_temporary(wml_plan *plan, size_t bytes);
/* The node's temporary `which`; of 0 bytes there is none. */
wml_result cuda_take_temporary(wml_plan *plan, cuda_node *node, int which, size_t bytes);
static inline const wml_tensor *cuda_info(const wml_plan *plan, int tensor) {
  return &plan->tensors[tensor].info;
}
/* A copy of a host's array that an operation points to; the plan's node releases it. */
wml_result cuda_constant(wml_plan *plan, const void *host, size_t bytes, void **device);
/* NULL data where the operand is absent. */
static inline cuda_view cuda_view_of(const wml_plan *plan, int tensor) {
  cuda_view v = {NULL, CUDA_F32_T};
  if (tensor >= 0) v.data = plan->tensors[tensor].data, v.type = plan->tensors[tensor].type;
  return v;
}
static inline float *cuda_f32(const wml_plan *plan, int tensor) {
  return tensor < 0 ? NULL : (float *)plan->tensors[tensor].data;
}
/* Weights in the type that values have: the bfloat16 copy under mixed precision. */
cuda_view cuda_weight(const wml_plan *plan, int tensor);

/* ---- branch.c ---- */
wml_result cuda_branch_plan(wml_plan *plan); /* ranges; after the operations are settled */
size_t cuda_branch_bytes(const wml_plan *plan, const cuda_range *range); /* of the second sides */
wml_result cuda_branch_start(wml_plan *plan); /* buffers, stream, events */
void cuda_branch_stop(wml_plan *plan);
/* Makes the plan's tensors show this side. */
void cuda_face(wml_plan *plan, int side);
/* While a step is recorded: around each operation, and at the end of the graph. */
wml_result cuda_branch_before(cuda_call *call, int node);
wml_result cuda_branch_after(cuda_call *call, int node);
wml_result cuda_branch_join(cuda_call *call);
/* After a run: what ended on side 1 comes back to side 0. */
void cuda_branch_settle(const wml_plan *plan);

/* ---- aside.c ---- */
void cuda_aside_plan(wml_plan *plan); /* which operations; none for `plan->in_order` */
int cuda_aside_until(const wml_plan *plan, int node); /* the operation that waits for this one */
wml_result cuda_aside_start(wml_plan *plan);
void cuda_aside_stop(wml_plan *plan);
/* While a step is recorded: call->stream becomes the one that the operation runs on. */
wml_result cuda_aside_before(cuda_call *call, int node);
wml_result cuda_aside_after(cuda_call *call, int node);

/* ---- tune.c ---- */
/* A vendor's plan that has several candidates for the same result. */
typedef struct cuda_tuning {
  int (*count)(const void *vendor);
  const char *(*select)(void *vendor, int candidate); /* the name of it */
  const char *(*key)(const void *vendor); /* what is computed, for the file of choices */
} cuda_tuning;
/* Times the candidates of every node, or takes what a file says of an earlier time. The plan's
 * memory is there, its content does not matter. */
wml_result cuda_tune(wml_plan *plan);
/* Times every node alone, over the data of the last run, and writes the microseconds behind its
 * name. The plan's results are spoilt. */
wml_result cuda_profile(wml_plan *plan);

/* ---- run.c ---- */
wml_result cuda_plan_start(wml_plan *plan); /* the last part of prepare(): buffers and graph */
void cuda_plan_stop(wml_plan *plan);
wml_result cuda_plan_run(wml_plan *plan, wml_run *run);
/* While capturing. side: which the step reads. */
wml_result cuda_record_step(wml_plan *plan, cudaStream_t stream, int side);
wml_result cuda_copy_outputs(wml_plan *plan); /* to the host */
wml_result cuda_capture(wml_plan *plan,
                        wml_result (*record)(wml_plan *, cudaStream_t, const void *),
                        const void *what, cudaGraphExec_t *exec);
wml_result cuda_pinned(wml_device *device, size_t bytes, void **out);
/* NULL: the run has none; the error is set. */
const wml_feed *cuda_feed_of(const wml_plan *plan, const wml_run *run, int feed);

/* ---- direct.c ---- */
bool cuda_is_direct(const wml_plan *plan); /* a prediction */
size_t cuda_direct_bytes(const wml_plan *plan);
wml_result cuda_direct_start(wml_plan *plan);
void cuda_direct_stop(wml_plan *plan);
wml_result cuda_direct_run(wml_plan *plan, const wml_run *run);

/* ---- backend.c ---- */
wml_result cuda_check(wml_device *device, cudaError_t error, const char *call);
#define CUDA_TRY(device, call)                                                                     \
  do {                                                                                             \
    wml_result cuda_try_result = cuda_check(device, call, #call);                                  \
    if (cuda_try_result != WML_OK) return cuda_try_result;                                         \
  } while (0)
void *cuda_take(const wml_device *device, size_t n, size_t size); /* zeroed; NULL: error is set */
/* Device memory; the error names the bytes. */
wml_result cuda_allocate(wml_device *device, size_t bytes, void **pointer);
/* A stream of higher or lower priority: what a step waits for goes before what may wait. */
wml_result cuda_new_stream(wml_device *device, bool urgent, cudaStream_t *stream);
wml_result cuda_new_event(wml_device *device, cudaEvent_t *event); /* tells no time */
cuda_entry *cuda_entry_create(const wml_device *device, const wml_tensor *t);
wml_result cuda_store_block(wml_store *store, size_t bytes, void **data); /* zeroed; the store's */

/* ---- one file per operation: implementations, best first; the last entry has plan NULL ---- */
typedef struct cuda_implementation {
  wml_result (*plan)(wml_plan *plan, cuda_node *node); /* WML_UNSUPPORTED with node->why */
} cuda_implementation;

extern const cuda_implementation cuda_conv2d[], cuda_conv2d_bwd_data[], cuda_conv2d_bwd_weights[];
extern const cuda_implementation cuda_dense[], cuda_dense_bwd_data[], cuda_dense_bwd_weights[];
extern const cuda_implementation cuda_maxpool[], cuda_maxpool_bwd[];
extern const cuda_implementation cuda_activation[], cuda_activation_bwd[];
extern const cuda_implementation cuda_batchnorm_train[], cuda_batchnorm_infer[],
    cuda_batchnorm_bwd[];
extern const cuda_implementation cuda_avgpool[], cuda_avgpool_bwd[];
extern const cuda_implementation cuda_resize[], cuda_resize_bwd[];
extern const cuda_implementation cuda_norm[], cuda_norm_bwd[];
extern const cuda_implementation cuda_binary[], cuda_binary_bwd[], cuda_affine[];
extern const cuda_implementation cuda_reduce[], cuda_reduce_bwd[];
extern const cuda_implementation cuda_matmul[];
extern const cuda_implementation cuda_concat[], cuda_crop[], cuda_pad[], cuda_transpose[];
extern const cuda_implementation cuda_embedding[], cuda_embedding_bwd[];
extern const cuda_implementation cuda_dropout[], cuda_noise[];
extern const cuda_implementation cuda_gather[], cuda_reshape[];
extern const cuda_implementation cuda_loss[], cuda_metric[], cuda_penalties[], cuda_update[];

/* conv2d_pooled.cu: whether the convolution can have relu and 2x2 pooling in its kernel. */
bool cuda_conv_can_pool(const wml_plan *plan, const cuda_node *node);

/* convert.cu: n elements of one type to another. */
void cuda_convert(cudaStream_t stream, cuda_view from, cuda_view to, int64_t n);
/* loss.cu: the last kernel of a step that has no update. */
void cuda_end_pass(cuda_call *call);
/* penalty.cu: l1 and l2 of the parameters join the loss: the first kernels of a step. */
void cuda_penalty(cuda_call *call);
/* update.cu */
int64_t cuda_update_squares(int64_t n); /* sums of squares that a range of n floats has */
int64_t cuda_update_length(const wml_plan *plan, const wml_update_item *item); /* in floats */
/* No variable asks for the norm of another, nor for what only the end of a step knows. */
bool cuda_update_is_apart(const wml_optimizer *o);
void cuda_update_look(cuda_call *call, const cuda_range *range);
void cuda_update_range(cuda_call *call, const cuda_range *range);
/* n floats from side 1 to side 0, when that is where they are. */
void cuda_update_settle(const wml_plan *plan, float *to, const float *from, int64_t n);

#ifdef __cplusplus
}
#endif

#endif
