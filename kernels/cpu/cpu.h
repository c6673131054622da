/* The CPU back end: oneDNN primitives on NHWC tensors, own vector code where that is faster.
 *
 * Activations are NHWC throughout: oneDNN 2.6's AVX2 and AVX-512 convolutions take it at the speed
 * of its blocked layouts (bench/primitives), own kernels stay simple, and nothing is reordered
 * between layers. Weights are kept in the layout that the forward convolution chose. */
#ifndef WML_CPU_H
#define WML_CPU_H

#include "../backend.h"
#include "../common/packing.h"
#include "executor.h"
#include "vec.h"

#include <dnnl.h>
#include <stdatomic.h>

struct wml_device {
  wml_host host;
  cpu_executor *executor;
  const vec_table *vec;
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  int threads;
  int64_t cache;    /* bytes of intermediate results that one thread keeps near */
  int64_t winograd; /* from so many channels on */
  /* Tests cut work into the smallest pieces there are, whether that is worth it or not. */
  bool finest_pieces;
  char identity[160];
};

/* A persistent tensor. Its bytes lie in one of the store's blocks. */
typedef struct cpu_entry {
  struct cpu_entry *next;
  char *name;
  int64_t elements;
  dnnl_memory_desc_t plain, own; /* layout of put() and get(); layout in the store */
  bool fixed;                    /* a plan has chosen `own` */
  void *data;
  /* Of a bfloat16 copy (narrow.c): what it is made from, and when. */
  const struct cpu_entry *source;
  const struct wml_plan *maker; /* which counts its bytes */
  uint64_t version;             /* of the store then; 0: never */
  dnnl_primitive_t reorder;
  dnnl_memory_t from, to;
} cpu_entry;

typedef struct cpu_block {
  struct cpu_block *next;
  float *data;
} cpu_block;

struct wml_store {
  wml_device *device;
  cpu_entry *entries;
  cpu_block *blocks;
  cpu_entry *copies; /* of weights, in bfloat16 */
  uint64_t version;  /* counts put() and updates: folded weights and copies follow it */
};

/* A tensor of the plan: one of the graph's or a temporary of one operation. */
typedef struct cpu_tensor {
  wml_tensor info;
  size_t bytes;    /* of a value; from the row-major size unless an operation says otherwise */
  int alias;       /* shares the bytes of this tensor, or -1 */
  int first, last; /* nodes between which it lives */
  bool pinned;     /* an output: lives to the end of the step */
  bool narrow;     /* a bfloat16 value */
  bool is_bytes;   /* a quantized value, uint8 or int8 as info.is_signed says */
  size_t apart;    /* bytes between the threads' own copies; 0: all share one */
  size_t offset;
  cpu_entry *entry; /* of a persistent tensor */
  void *data;       /* after prepare() */
} cpu_tensor;

enum { CPU_MAX_ARGS = 7, CPU_MAX_PRIMITIVES = 16, CPU_OFFSETS = 4 };

/* When a node's primitive runs: once before its pieces, once after them, or for each piece of one
 * kind (0, 1, ...). */
enum { CPU_BEFORE = -2, CPU_AFTER = -1 };

/* A part of a node's work that one thread does: some rows of the batch, or a band of a picture. */
typedef struct cpu_piece {
  int kind;
  int64_t images, rows;        /* of a convolution: pictures; rows of each in its result */
  int64_t offset[CPU_OFFSETS]; /* in bytes; what each means is the node's business */
} cpu_piece;

typedef struct cpu_operand {
  int tensor;
  int offset; /* which offset of the piece joins the tensor's address, or -1 */
} cpu_operand;

/* A oneDNN primitive for one thread, with memories for each. */
typedef struct cpu_primitive {
  dnnl_primitive_t primitive;
  int when, n_args;
  cpu_operand operand[CPU_MAX_ARGS];
  dnnl_exec_arg_t *args; /* [threads, n_args] */
} cpu_primitive;

typedef struct cpu_node cpu_node;

typedef struct cpu_step {
  wml_plan *plan;
  const wml_run *run;
  int64_t index;
  double loss;
  bool finite;
} cpu_step;

struct cpu_node {
  wml_op op;           /* operands are tensors of the plan */
  wml_activation post; /* activation fused behind a convolution or a dense layer */
  int pooled;          /* MAXPOOL_BWD: relu before the pooling is undone by this value; or -1 */
  bool pools;          /* CONV2D_BWD_WEIGHTS: takes the gradient from behind a pooling, whose index
                          is in[2]. CONV2D: out are those of the pooling behind it */
  wml_window pool;     /* of such a CONV2D, */
  int between;         /* and its own result, which has no bytes */
  const char *name;    /* of the implementation */
  const char *why;     /* an implementation that declined says why */
  bool inline_;        /* can run on the caller's thread */
  bool in_int8;        /* CONV2D, DENSE: multiplies in int8 */
  int own_kernel;      /* of such a CONV2D by own code: its weights in int8 */
  int temp[2];         /* temporaries, or -1 */
  void (*run)(cpu_step *step, cpu_node *node);
  int n_primitives;
  cpu_primitive primitive[CPU_MAX_PRIMITIVES];
  int64_t n_pieces;
  cpu_piece *pieces; /* NULL where the implementation does without */
};

/* Inference: BatchNormalization folded into the kernel and bias of the layer before it. */
typedef struct cpu_fold {
  struct cpu_fold *next;
  int kernel, bias, gamma, beta, mean, variance; /* the store's tensors; absent -1 */
  int own_kernel, own_bias;                      /* the plan's */
  float epsilon;
  uint64_t version; /* of the store when they were made; 0: never */
} cpu_fold;

struct wml_plan {
  wml_store *store;
  wml_device *device;
  wml_graph graph;         /* arrays copied */
  int n_tensors, capacity; /* of tensors */
  cpu_tensor *tensors;     /* the graph's first, then temporaries */
  int n_nodes;
  cpu_node *nodes;
  size_t arena_bytes;
  uint8_t *arena;
  cpu_fold *folds;
  cpu_entry *own_entries; /* folded weights, and their copies */
  bool int8;              /* may multiply in int8 */
  bool inline_;           /* small enough to run on the caller's thread */
  int threads;            /* that its loops use */
  atomic_bool broken;     /* oneDNN refused an operation of the run */
  bool prepared;
};

/* ---- cores.c ---- */
int cpu_cores(void);

/* ---- plan.c ---- */
int cpu_add_temporary(wml_plan *plan, size_t bytes, int node); /* tensor index, -1: no memory */
/* A value like the tensor, with so many rows. Returns its index, -1: no memory. */
int cpu_add_like(wml_plan *plan, int tensor, int64_t rows, bool narrow);
/* A temporary of which each thread has its own. -1: no memory. */
int cpu_add_scratch(wml_plan *plan, size_t bytes, int node);
/* Makes room for a node before node `at`: it and those behind move up. */
wml_result cpu_insert_node(wml_plan *plan, int at);
/* A relu without options; a pooling of 2x2 windows side by side. */
bool cpu_is_plain_relu(const wml_activation *activation);
bool cpu_halves(const wml_window *window);
/* How often the tensor is read: by nodes, and by the caller when it is an output. */
int cpu_consumers(const wml_plan *plan, int tensor);
static inline float *cpu_f32(const wml_plan *plan, int tensor) {
  return tensor < 0 ? NULL : (float *)plan->tensors[tensor].data;
}
static inline bool cpu_is_narrow(const wml_plan *plan, int tensor) {
  return tensor >= 0 && plan->tensors[tensor].narrow;
}
/* Values of one type; one that is absent goes with any. */
static inline bool cpu_same_type(const wml_plan *plan, int a, int b) {
  return a < 0 || b < 0 ||
         (plan->tensors[a].narrow == plan->tensors[b].narrow &&
          plan->tensors[a].is_bytes == plan->tensors[b].is_bytes);
}
/* Bytes of an element of a value. */
static inline int64_t cpu_element(const wml_plan *plan, int tensor) {
  const cpu_tensor *t = &plan->tensors[tensor];
  return t->is_bytes ? 1 : t->narrow ? 2 : 4;
}
/* A value from element `at` on. */
static inline void *cpu_at(const wml_plan *plan, int tensor, int64_t at) {
  if (tensor < 0) return NULL;
  return (uint8_t *)plan->tensors[tensor].data + at * cpu_element(plan, tensor);
}
static inline const wml_tensor *cpu_info(const wml_plan *plan, int tensor) {
  return &plan->tensors[tensor].info;
}
/* A thread's own copy. */
static inline void *cpu_own(const wml_plan *plan, int tensor, int thread) {
  return (uint8_t *)plan->tensors[tensor].data + (size_t)thread * plan->tensors[tensor].apart;
}

/* ---- onednn.c ---- */
wml_result cpu_check(const wml_device *device, dnnl_status_t status, const char *call);
/* Descriptor of a row-major tensor of any rank, as oneDNN's logical NCHW over NHWC bytes for
 * rank 4. */
void cpu_describe(const wml_plan *plan, int tensor, dnnl_memory_desc_t *md);
static inline dnnl_data_type_t cpu_type(const wml_plan *plan, int tensor) {
  const cpu_tensor *t = &plan->tensors[tensor];
  if (t->is_bytes) return t->info.is_signed ? dnnl_s8 : dnnl_u8;
  return t->narrow ? dnnl_bf16 : dnnl_f32;
}
/* Adds a primitive to the node; the scratchpad becomes a temporary. args ends with tensor -1.
 * WML_UNSUPPORTED: oneDNN cannot make it; another implementation may do. */
typedef struct cpu_arg {
  int arg;
  cpu_operand operand;
  const dnnl_memory_desc_t *md;
} cpu_arg;
wml_result cpu_add_primitive(wml_plan *plan, cpu_node *node, int when, dnnl_primitive_desc_t pd,
                             const cpu_arg *args);
wml_result cpu_add_reorder(wml_plan *plan, cpu_node *node, int when, cpu_operand from,
                           const dnnl_memory_desc_t *from_md, cpu_operand to,
                           const dnnl_memory_desc_t *to_md);
/* Room for n pieces, zeroed. */
wml_result cpu_add_pieces(wml_plan *plan, cpu_node *node, int64_t n);
/* Forgets the node's primitives but for the first `kept`. */
void cpu_drop_primitives(wml_plan *plan, cpu_node *node, int kept);
/* Forgets what an implementation has added to the node. */
void cpu_reset_node(wml_plan *plan, cpu_node *node);
/* Tells the memories where the plan's tensors are. */
wml_result cpu_bind_primitives(wml_plan *plan);
wml_result cpu_reorder_now(wml_device *device, const dnnl_memory_desc_t *from_md, const void *from,
                           const dnnl_memory_desc_t *to_md, void *to);
/* What a call says while a plan runs; any thread. */
static inline void cpu_note(wml_plan *plan, dnnl_status_t status) {
  if (status != dnnl_success) atomic_store(&plan->broken, true);
}
/* Those with this `when`. piece: NULL before and after the pieces. */
void cpu_run_primitives(cpu_step *step, const cpu_node *node, int when, const cpu_piece *piece,
                        int thread);
/* What the body of a node's pieces gets. */
typedef struct cpu_pieces_job {
  cpu_step *step;
  const cpu_node *node;
} cpu_pieces_job;
/* The primitives before the pieces, then body(cpu_pieces_job *, piece, thread) for each. */
void cpu_run_pieces_by(cpu_step *step, const cpu_node *node, cpu_piece_body body);
/* The body of a piece that is its primitives and no more. */
void cpu_run_piece(void *job, int64_t piece, int thread);
/* All of a node whose pieces are such: before them, the pieces, after them. */
void cpu_run_pieces(cpu_step *step, cpu_node *node);
/* The sum of a node's partial results, n floats each and `apart` floats from one another, in their
 * order. */
void cpu_add_parts(const wml_plan *plan, const float *parts, int64_t n_parts, int64_t apart,
                   float *sum, int64_t n);
/* Adds the activation to attr where oneDNN computes the same function; false where it does not. */
bool cpu_post_activation(const wml_activation *act);
wml_result cpu_attributes(wml_plan *plan, const wml_activation *post, dnnl_primitive_attr_t *attr);
/* Joins the activation, its result times `scale`, to the attributes. */
dnnl_status_t cpu_join_activation(dnnl_primitive_attr_t attr, const wml_activation *post,
                                  float scale);
const char *cpu_implementation_name(dnnl_primitive_desc_t pd);
/* Whether oneDNN uses this instruction set of x86-64. On other architectures the same bits mean
 * other sets, and the answer is no. */
bool cpu_has_isa(dnnl_cpu_isa_t isa);

/* ---- one file per operation: implementations, best first; the last entry has plan NULL ---- */
typedef struct cpu_implementation {
  /* WML_UNSUPPORTED with node->why when it does not apply. */
  wml_result (*plan)(wml_plan *plan, cpu_node *node);
  bool narrow; /* knows bfloat16; asked only then for operations that have such operands */
} cpu_implementation;

extern const cpu_implementation cpu_conv2d[], cpu_conv2d_bwd_data[], cpu_conv2d_bwd_weights[];
extern const cpu_implementation cpu_dense[], cpu_dense_bwd_data[], cpu_dense_bwd_weights[];
extern const cpu_implementation cpu_maxpool[], cpu_maxpool_bwd[];
extern const cpu_implementation cpu_avgpool[], cpu_avgpool_bwd[], cpu_resize[], cpu_resize_bwd[];
extern const cpu_implementation cpu_activation[], cpu_activation_bwd[];
extern const cpu_implementation cpu_batchnorm_train[], cpu_batchnorm_infer[], cpu_batchnorm_bwd[];
extern const cpu_implementation cpu_norm[], cpu_norm_bwd[];
extern const cpu_implementation cpu_gather[], cpu_dropout[], cpu_reshape[], cpu_loss[],
    cpu_metric[];
extern const cpu_implementation cpu_update[];
extern const cpu_implementation cpu_noise[], cpu_affine[], cpu_activity[];
extern const cpu_implementation cpu_transpose[], cpu_concat[], cpu_crop[], cpu_pad[];
extern const cpu_implementation cpu_binary[], cpu_binary_bwd[], cpu_reduce[], cpu_reduce_bwd[];
extern const cpu_implementation cpu_matmul[], cpu_embedding[], cpu_embedding_bwd[];

/* maxpool.c: pools what a convolution has made of a piece, on the calling thread. x: the pictures,
 * or bands of them, of x_rows rows each; `first`: the first element of the result. */
void cpu_pool_piece(const wml_plan *plan, const cpu_node *conv, const void *x, int64_t x_rows,
                    const cpu_piece *piece, int64_t first);
/* Where the pooling's index says what won: a byte each. */
void cpu_pool_index(wml_plan *plan, int index);

/* conv2d_pooled.c */
bool cpu_conv_can_pool(const wml_plan *plan, const cpu_node *weights);
wml_result cpu_plan_pooled_weights(wml_plan *plan, cpu_node *node); /* of nodes with `pools` */
wml_result cpu_plan_pooled_forward(wml_plan *plan, cpu_node *node);

/* conv2d.c: a kernel lies as it is given, unless another layout is chosen already; whether it does.
 */
bool cpu_fix_plain_kernel(wml_plan *plan, int kernel, int64_t groups);

/* depthwise.c */
wml_result cpu_plan_depthwise(wml_plan *plan, cpu_node *node);
wml_result cpu_plan_depthwise_bwd_data(wml_plan *plan, cpu_node *node);
wml_result cpu_plan_depthwise_bwd_weights(wml_plan *plan, cpu_node *node);

/* plain.c */
/* An operand that is persistent and does not lie row-major becomes a copy that does. */
wml_result cpu_read_plain(wml_plan *plan, int *tensor);
/* Whether the result, or -1, lies row-major; else node->why says so. */
bool cpu_writes_plain(const wml_plan *plan, cpu_node *node, int tensor);

/* narrow.c */
/* Whether the processor computes in bfloat16. */
bool cpu_can_narrow(void);
bool cpu_has_narrow(const wml_plan *plan, const cpu_node *node);
/* Rewrites node `at` to work on float32, with a conversion before or behind it for each bfloat16
 * operand. */
wml_result cpu_widen_node(wml_plan *plan, int at);
wml_result cpu_plan_convert(wml_plan *plan, cpu_node *node);
/* A copy of a weight in another type or layout, as a tensor of the plan; -1: no memory. */
int cpu_narrow_weight(wml_plan *plan, int tensor, const dnnl_memory_desc_t *md);
/* The same of `from`, a part of the weight, times scales[i] for the i-th output; NULL: as it is. */
int cpu_copy_weight(wml_plan *plan, int tensor, const dnnl_memory_desc_t *from,
                    const dnnl_memory_desc_t *md, const float *scales, int64_t n_scales);
/* A node before node `at` that converts `from` to the type of `to`. */
wml_result cpu_insert_conversion(wml_plan *plan, int at, int from, int to);
wml_result cpu_prepare_copies(wml_plan *plan); /* when all weights have their bytes */
void cpu_refresh_copies(wml_plan *plan); /* makes those anew that are older than the weights */

/* The copy of a weight that is the weight's own bytes but for pairs of rows of *width elements
 * (vec.h: pair_rows), or NULL. Who changes the weight may write it along. */
cpu_entry *cpu_paired_copy(const wml_store *store, const cpu_entry *weight, int64_t *width);

/* int8.c */
/* Whether the processor multiplies in int8 (VNNI). */
bool cpu_can_int8(void);
/* Decides which operations of an inference plan multiply in int8, and which values are bytes. */
wml_result cpu_settle_int8(wml_plan *plan);
/* Of such an operation: output scales and the activation; its weights; its bias; -1: no memory. */
wml_result cpu_int8_attributes(wml_plan *plan, const cpu_node *node, int64_t first, int64_t filters,
                               dnnl_primitive_attr_t *attr);
int cpu_int8_weights(wml_plan *plan, const cpu_node *node, const dnnl_memory_desc_t *md);
int cpu_int8_bias(wml_plan *plan, const cpu_node *node);
wml_result cpu_plan_quantize(wml_plan *plan, cpu_node *node);

/* conv2d_bytes.c */
wml_result cpu_plan_conv_bytes(wml_plan *plan, cpu_node *node);

/* fold.c */
wml_result cpu_fold_plan(wml_plan *plan);    /* rewrites nodes of an inference plan */
wml_result cpu_fold_refresh(wml_plan *plan); /* makes folded weights anew where the store changed */

/* backend.c */
cpu_entry *cpu_entry_create(const wml_device *device, const wml_tensor *t);
/* Not its data. */
void cpu_entry_destroy(const wml_device *device, cpu_entry *entry);

/* step.c: regularisers' share of the loss. */
double cpu_penalty(const wml_plan *plan);

#endif
