/* webml.h - the whole public interface of libwebml. What is not in this header is not the API.
 *
 * A network is described in JSON (webml_model), meets data (webml_dataset) on a device
 * (webml_device), is trained (webml_trainer) into one weights file, and predicts (webml_predictor).
 *
 * Errors. A call returns WEBML_OK or another webml_status; webml_last_error() then says in one
 * sentence what was wrong, where, and what would be right. The message is kept per thread until the
 * next failing call of that thread. The library never prints, never exits, and never asserts on its
 * input; progress and messages go to callbacks.
 *
 * Ownership. Objects made by *_create, *_open, *_parse, *_load belong to the caller and are freed
 * by the *_destroy of their type; NULL is fine there. A `char **` result is freed with
 * webml_free(). `const char *` results live as long as the object they came from. An object may be
 * destroyed while others that were made from it live: they hold on to what they need, except that a
 * device must outlive its trainers and predictors.
 *
 * Threads. A model, a data set, a device and a predictor may be used by several threads at once. A
 * trainer belongs to one thread at a time, but webml_trainer_cancel() may be called from any thread
 * and from a signal handler.
 *
 * Options are structs that begin with struct_size: set it to sizeof the struct and everything else
 * to zero for the defaults, e.g. webml_train_options o = {.struct_size = sizeof o, .epochs = 5}. */
#ifndef WEBML_H
#define WEBML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEBML_VERSION_MAJOR 0
#define WEBML_VERSION_MINOR 1
#define WEBML_VERSION_PATCH 0

#if defined(__GNUC__)
#define WEBML_API __attribute__((visibility("default")))
#else
#define WEBML_API
#endif

/* ---- statuses ------------------------------------------------------------------------------- */

/* X(symbol, what it means) */
#define WEBML_STATUSES(X)                                                                          \
  X(OK, "ok")                                                                                      \
  X(ERROR_ARGUMENT, "a call was given a wrong argument")                                           \
  X(ERROR_PARSE, "a file or text is not in its format")                                            \
  X(ERROR_MODEL, "a model description is not valid")                                               \
  X(ERROR_DATA, "a data set cannot be used as asked")                                              \
  X(ERROR_IO, "a file cannot be read or written")                                                  \
  X(ERROR_MEMORY, "out of memory")                                                                 \
  X(ERROR_DEVICE, "a device or its library failed")                                                \
  X(ERROR_UNSUPPORTED, "not supported here")                                                       \
  X(ERROR_NOT_FINITE, "a loss or gradient was not finite")                                         \
  X(ERROR_CANCELLED, "cancelled")                                                                  \
  X(ERROR_MISMATCH, "things that do not belong together")                                          \
  X(ERROR_INTERNAL, "a defect of the library")

typedef enum webml_status {
#define WEBML_STATUS_ENUM(symbol, text) WEBML_##symbol,
  WEBML_STATUSES(WEBML_STATUS_ENUM)
#undef WEBML_STATUS_ENUM
} webml_status;

/* The meaning of a status, e.g. "out of memory". Never NULL. */
WEBML_API const char *webml_status_name(webml_status status);
/* The sentence of this thread's last failing call; "" before the first. Valid until the next. */
WEBML_API const char *webml_last_error(void);
/* "0.1.0" */
WEBML_API const char *webml_version(void);
/* Frees a string that a call returned through a `char **`. */
WEBML_API void webml_free(void *pointer);
/* Allocations of the library since the start of the process: training steps and predictions add
 * none (a figure for tests and benchmarks). */
WEBML_API uint64_t webml_allocation_count(void);

typedef struct webml_model webml_model;
typedef struct webml_dataset webml_dataset;
typedef struct webml_device webml_device;
typedef struct webml_trainer webml_trainer;
typedef struct webml_predictor webml_predictor;

/* ---- models --------------------------------------------------------------------------------- */

/* Parses and checks a description, or a document of Keras or TensorFlow.js (docs/model.md). All
 * errors are reported at once, one per line of the message, each with a path and a cure.
 * WEBML_ERROR_PARSE, _MODEL, _MEMORY. */
WEBML_API webml_status webml_model_parse(const char *json, size_t length, webml_model **model);
/* The same for a file; also reads the model inside a weights file. WEBML_ERROR_IO as well. */
WEBML_API webml_status webml_model_load(const char *path, webml_model **model);
WEBML_API void webml_model_destroy(webml_model *model);
/* A new model shaped to the data set: units of the last Dense and, for tables, the input size and
 * columns; optimizer and loss where the description leaves them open. *chosen (may be NULL)
 * receives one sentence per choice, separated by newlines: webml_free(). A model that fits already
 * is copied. WEBML_ERROR_MODEL when it cannot fit. */
WEBML_API webml_status webml_model_shape_to(const webml_model *model, const webml_dataset *dataset,
                                            webml_model **shaped, char **chosen);
/* The description in normal form, as one JSON object. Free with webml_free(). */
WEBML_API webml_status webml_model_to_json(const webml_model *model, char **json);
/* Layers with output shapes, parameters and FLOPs, as JSON: {"name","layers":[{"name","type",
 * "output_shape":[null,..],"parameters","flops","inputs":[names]}],"parameters","trainable",
 * "flops"}; a model with several inputs or outputs also has "inputs" and "outputs": {name: shape}.
 * flops are those of one forward pass of one sample, a multiply-add counting 2. The parameters of a
 * layer that is used several times are listed with its first use. */
WEBML_API webml_status webml_model_summary(const webml_model *model, char **json);
/* True while the output size is open: shape it to a data set before training. */
WEBML_API bool webml_model_is_dynamic(const webml_model *model);

typedef enum webml_dtype { WEBML_DTYPE_FLOAT32, WEBML_DTYPE_INT32, WEBML_DTYPE_UINT8 } webml_dtype;

/* Something that flows through a model, without the batch: an input, an output, or what a layer
 * gives. The name lives as long as the model. */
typedef struct webml_tensor_info {
  const char *name;
  webml_dtype dtype; /* UINT8: pictures as inputs; INT32: whole numbers, for an Embedding */
  int rank;
  int64_t shape[4]; /* -1: open; [height, width, channels], [features], [steps, features] */
} webml_tensor_info;

/* Each fills at most `capacity` infos (NULL with 0) and returns how many there are, in the order of
 * the description; layers count once for each use. A row of predictions holds all inputs, or all
 * outputs, one after another in this order. */
WEBML_API size_t webml_model_inputs(const webml_model *model, webml_tensor_info *infos,
                                    size_t capacity);
WEBML_API size_t webml_model_outputs(const webml_model *model, webml_tensor_info *infos,
                                     size_t capacity);
WEBML_API size_t webml_model_layers(const webml_model *model, webml_tensor_info *infos,
                                    size_t capacity);

/* What a ready-made network is like; webml_schema() says which network has which options. */
typedef struct webml_named_options {
  size_t struct_size;
  const char *size; /* "HEIGHTxWIDTHxCHANNELS" of pictures, "FEATURES" of a table; NULL: the
                       network's own size, of a table that of the data */
  int64_t classes;  /* outputs of the last layer; 0: open, webml_model_shape_to() fills them in */
  double alpha;     /* factor of the number of filters of every layer; 0: 1 */
  int64_t filters;  /* of the first stage; 0 here and below: the network's own number */
  int64_t units;    /* of hidden Dense layers */
  int64_t depth;    /* stages or hidden layers */
} webml_named_options;

/* The description of a ready-made network such as "resnet50" (docs/model.md), as text to read,
 * change and parse. Options NULL: defaults. Free with webml_free(). WEBML_ERROR_ARGUMENT: there is
 * no such network or option, or no network of that size; _MODEL: options make a layer that is too
 * large; _MEMORY. Any thread. */
WEBML_API webml_status webml_model_named(const char *name, const webml_named_options *options,
                                         char **json);

/* Bytes of plans on a device, known before anything is allocated. */
typedef struct webml_memory {
  size_t weights; /* parameters and moving statistics */
  size_t state;   /* gradients and optimizer state */
  size_t saved;   /* activations kept from forward to backward */
  size_t scratch; /* shared working memory */
  size_t total;
} webml_memory;

/* ---- data sets ------------------------------------------------------------------------------ */

/* Which samples are held back from training. */
typedef enum webml_split {
  WEBML_SPLIT_LAST,      /* as Keras: the last rows of tables and IDX files, the first files of each
                            class of pictures */
  WEBML_SPLIT_RANDOM,    /* drawn by split_seed */
  WEBML_SPLIT_STRATIFIED /* drawn by split_seed, the same share of every class */
} webml_split;

typedef enum webml_resize {
  WEBML_RESIZE_NEAREST,  /* as Keras does: Pillow's NEAREST, to the bit */
  WEBML_RESIZE_BILINEAR, /* Pillow's BILINEAR, to the bit; but JPEG files of more than eight times
                            the size are decoded at a smaller one, which changes a value by at most
                            8 of 255, on average by at most 1 */
  WEBML_RESIZE_AREA      /* Pillow's BOX: the mean of what a pixel covers; the same holds for more
                            than sixteen times the size */
} webml_resize;

typedef struct webml_dataset_options {
  size_t struct_size;
  double validation_split; /* 0 <= v < 1: this share is kept for validation where the data set has
                              no such part */
  bool skip_broken;        /* images that cannot be read are left out and counted; else an error */
  /* Tables. Columns by name or 0-based index, separated by commas; NULL: from the model, else the
   * last column is the output, labels are one-hot encoded, and all others that can be are inputs.
   */
  const char *inputs, *outputs, *one_hot;
  webml_split split;
  uint64_t split_seed;
  double test_split; /* 0 <= v < 1: this share is kept away from training and validation */
  int folds, fold;   /* folds > 0: cross-validation, the fold-th (from 0) of so many validates */
  const char *validation_path; /* tables: a second file with the same columns that validates */
  /* Tables: what becomes of missing cells: "refuse" (the default), "mean", "median",
   * "most_frequent", "category" (a value of its own) or "drop" (the row is left out); for one
   * column "Age=median"; several with commas, later ones count more. Figures come from training
   * rows. */
  const char *missing;
  /* Tables: scaling of numbers: "standard" (the default), "minmax" or "none", in the same manner.
   */
  const char *scale;
  char separator;      /* of a CSV file; 0: found out */
  int64_t label_limit; /* a label column with more values is blocked; 0: 1000 */
  /* Images: names with commas: which classes are taken, in which order. NULL: those of classes.txt
   * beside the class folders, else all, in code-point order. */
  const char *classes;
  webml_resize resize;
  bool exif_orientation; /* turn pictures as EXIF says; else they are taken as they are stored */
  /* Folder for the typed cells of large tables and the packed pixels of many pictures, which are
   * used again while their source is unchanged; "none": no cache. NULL: $WEBML_CACHE, else
   * $XDG_CACHE_HOME/webml, else ~/.cache/webml. Anything in it may be deleted at any time. */
  const char *cache;
} webml_dataset_options;

/* Opens what is at `path`: a CSV file, plain or gzip; a folder or zip file with
 * training_data/<class>/ and validation_data/<class>/ or with <class>/ folders of PNG and JPEG
 * files; or a folder with an MNIST-style pair of IDX files (plain or gzip). Tables are read by
 * several threads, pictures when a model asks for them. Options NULL: defaults. WEBML_ERROR_IO,
 * _PARSE, _DATA, _MEMORY, _ARGUMENT. */
WEBML_API webml_status webml_dataset_open(const char *path, const webml_dataset_options *options,
                                          webml_dataset **dataset);
WEBML_API void webml_dataset_destroy(webml_dataset *dataset);
/* properties.json: for tables {"format":"csvdata","rows","examples","features":[...]}, for images
 * {"format":"images","classes":[...],...}. Free with webml_free(). */
WEBML_API webml_status webml_dataset_properties(const webml_dataset *dataset, char **json);

/* What an augmented picture shows beyond the edges of the original; SciPy's names. */
typedef enum webml_fill {
  WEBML_FILL_NEAREST,  /* the nearest pixel */
  WEBML_FILL_CONSTANT, /* fill_value */
  WEBML_FILL_REFLECT,  /* the mirror image */
  WEBML_FILL_WRAP      /* the other side */
} webml_fill;

/* Augmentation of pictures, drawn anew for each picture and epoch as a function of the seed; all 0:
 * none. Angles in degrees, shear too: a shear_range of 0.2 is next to nothing. */
typedef struct webml_augmentation {
  double rotation_range, shear_range; /* angles from -r to r */
  double zoom_range;                  /* factors from 1 - z to 1 + z; below 1 */
  double width_shift, height_shift;   /* shares of width and height, below 1 */
  double random_crop; /* windows of 1 - c to 1 of the sides, enlarged to the whole; below 1 */
  double brightness;  /* factors from 1 - b to 1 + b; up to 1 */
  bool horizontal_flip, vertical_flip; /* every other picture */
  double channel_shift; /* added to all channels, from -c to c of 255; the picture's least and
                           greatest value stay what they are, as in Keras */
  webml_fill fill;
  double fill_value; /* of WEBML_FILL_CONSTANT, 0 to 255 */
} webml_augmentation;

/* The same with all that only a look at every cell and picture tells: for tables a "histogram" of
 * 16 bars per number, for pictures "sizes", "modes", "broken", "copies"; and "problems":
 * [{"problem","cure"}] that stand in the way of a good training. */
WEBML_API webml_status webml_dataset_inspect(const webml_dataset *dataset, char **json);
/* One picture (0-based, class by class) as a network of that size would see it, augmented as in
 * epoch `epoch` (0-based) of a training with this seed; augmentation NULL: as it is. pixels:
 * [height, width, channels] bytes, channels 1, 3 or 4. *json (may be NULL):
 * {"file","class","part"}. WEBML_ERROR_PARSE: the picture is broken. Any thread. */
WEBML_API webml_status webml_dataset_picture(const webml_dataset *dataset, int64_t picture,
                                             int height, int width, int channels,
                                             const webml_augmentation *augmentation, uint64_t seed,
                                             int64_t epoch, uint8_t *pixels, char **json);

/* The number of the index-th picture (0-based) of a class, for webml_dataset_picture().
 * WEBML_ERROR_ARGUMENT: there is no such class, or it has fewer. Any thread. */
WEBML_API webml_status webml_dataset_find(const webml_dataset *dataset, const char *class_name,
                                          int64_t index, int64_t *picture);

/* ---- devices -------------------------------------------------------------------------------- */

/* "cpu", "cuda:0" or a GPU's UUID; "cuda": the GPU with the most free memory; "auto" or NULL: that
 * GPU, the CPU where there is none. threads: of the CPU, 0 for all cores. "ref" opens the slow
 * reference back end (for comparisons). GPUs are served by a module that is looked for beside the
 * library (or where the environment's WEBML_CUDA_MODULE says). WEBML_ERROR_ARGUMENT, _UNSUPPORTED
 * (no such device here, and why), _DEVICE, _MEMORY. Any thread. */
WEBML_API webml_status webml_device_open(const char *name, int threads, webml_device **device);
WEBML_API void webml_device_destroy(webml_device *device);
/* All devices of this machine as JSON: {"devices":[{"name","kind","description","bfloat16",...}],
 * "unavailable":[{"kind","reason"}]}; bfloat16: takes WEBML_MIXED_BFLOAT16; int8: multiplies
 * quantized weights in int8. Free with webml_free().
 */
WEBML_API webml_status webml_devices(char **json);
/* What the last bits of results depend on: library, version, instruction set. */
WEBML_API const char *webml_device_identity(const webml_device *device);
/* "cpu", "cuda:0": what was opened. Lives as long as the device. */
WEBML_API const char *webml_device_name(const webml_device *device);

/* Arithmetic of a training. Weights and their gradients, statistics, losses and outputs are float32
 * always. */
typedef enum webml_precision {
  WEBML_FLOAT32,        /* float32; a GPU multiplies in TF32 */
  WEBML_FLOAT32_STRICT, /* float32 throughout */
  WEBML_MIXED_BFLOAT16  /* values between layers, and what is multiplied, in bfloat16: GPUs from
                           compute capability 8.0 on, CPUs with AVX512_BF16 or AMX */
} webml_precision;

/* WEBML_OK where the device computes in this precision; WEBML_ERROR_UNSUPPORTED: it has no
 * bfloat16, and the message says which devices have. webml_trainer_create() checks it before it
 * reads the data. Any thread. */
WEBML_API webml_status webml_device_check(const webml_device *device, webml_precision precision);

/* ---- training ------------------------------------------------------------------------------- */

enum { WEBML_MAX_METRICS = 16 };

/* A sample of the validation part that was taken for another class. */
typedef struct webml_mistake {
  int64_t sample;     /* pictures: the number for webml_dataset_picture(); tables: of the row within
                         the validation part, from 0 */
  int truth, said;    /* classes */
  double probability; /* that the network gave what it said: its output */
} webml_mistake;

/* What a progress callback sees. Names and pointers are valid during the call only. */
typedef struct webml_progress {
  int64_t epoch, epochs;        /* 1-based */
  int64_t step, steps;          /* of the epoch; step == steps at its end */
  bool epoch_ended;             /* validation figures are filled in */
  double loss, validation_loss; /* validation_loss: NaN without validation */
  int n_metrics;
  const char *metric_names[WEBML_MAX_METRICS];
  double metrics[WEBML_MAX_METRICS], validation_metrics[WEBML_MAX_METRICS];
  double learning_rate;
  double seconds;            /* of this epoch so far, validation included */
  double samples_per_second; /* of training steps */
  double seconds_left;       /* estimate for all that remains */
  bool improved;             /* this epoch's weights are the best so far */
  /* At the end of an epoch, with progress_detail, of the validation part of a classification; else
   * 0 and NULL. */
  int n_classes;
  const char *const *class_names; /* [n_classes] */
  const int64_t *confusion;       /* [n_classes, n_classes] samples by truth and by what was said;
                                     NULL above 128 classes */
  int n_mistakes;                 /* at most 16 */
  const webml_mistake *mistakes;  /* the surest first */
} webml_progress;

typedef enum webml_schedule {
  WEBML_SCHEDULE_CONSTANT,
  WEBML_SCHEDULE_STEP,  /* times step_factor every step_epochs */
  WEBML_SCHEDULE_COSINE /* half a cosine from the learning rate to final_rate over all epochs */
} webml_schedule;

typedef struct webml_train_options {
  size_t struct_size;
  int64_t epochs;     /* 0: 10 */
  int64_t batch_size; /* 0: 32 */
  uint64_t seed;      /* of initial weights, order and dropout */
  bool no_shuffle;    /* keep the order of the data */
  webml_augmentation augmentation;
  webml_precision precision;
  bool deterministic;   /* a GPU keeps to methods that give the same bits each time */
  double learning_rate; /* 0: the description's */
  webml_schedule schedule;
  double warmup_epochs;            /* the rate rises linearly from 0 over so many epochs */
  double step_epochs, step_factor; /* of SCHEDULE_STEP; 0: 10 epochs, factor 0.1 */
  double final_rate;               /* of SCHEDULE_COSINE */
  /* Watched: "loss", "val_loss", a metric or "val_" and a metric. NULL: val_loss, without
   * validation loss. */
  const char *monitor;
  int64_t early_stopping_patience; /* epochs without improvement; 0: never stop early */
  double min_delta;                /* least change that counts as an improvement */
  int64_t plateau_patience; /* reduce the rate after so many epochs without improvement; 0: never */
  double plateau_factor;    /* 0: 0.1 */
  double plateau_min_rate;
  bool keep_last;              /* the weights file gets the last epoch's weights, not the best */
  bool balance_classes;        /* class weights n / (classes * count of the class) */
  const double *class_weights; /* [n_class_weights] or NULL */
  size_t n_class_weights;
  const char *initial_weights; /* a weights file to start from; layers match by name and shape, and
                                  a message tells which do not */
  const char *weights_path;    /* written when training ends, atomically; NULL: nowhere */
  const char
      *checkpoint_path;      /* NULL: weights_path with ".checkpoint" behind; none without either */
  double checkpoint_seconds; /* also so often within an epoch; 0: 60 */
  bool resume;               /* go on from the checkpoint when there is one */
  void (*progress)(const webml_progress *progress, void *user);
  double progress_seconds; /* least time between calls within an epoch; 0: 0.1 */
  void (*message)(const char *text, void *user); /* one sentence: what was chosen or noticed */
  void *user;
  bool all_weights; /* initial_weights must fit every layer: WEBML_ERROR_MISMATCH says which does
                       not, and how */
  bool progress_detail; /* confusion and mistakes with the progress at the end of an epoch */
  /* Layers that training leaves as they are, by their names with * for any text and ? for any
   * character, separated by commas: "block_*,conv1". The name of a block means all of its layers. A
   * frozen BatchNormalization works as in prediction. NULL: none. The weights file has the
   * description as it was given. WEBML_ERROR_ARGUMENT: no layer with weights has such a name, or
   * none is left to train. */
  const char *freeze;
  /* With initial_weights: for each output, the Dense that gives it and what follows start anew,
   * even where shapes fit; where there is no such Dense, the last layer with weights does. All
   * other layers must fit, as with all_weights. */
  bool new_head;
} webml_train_options;

/* What a training will take. */
typedef struct webml_training_memory {
  webml_memory plans; /* of all kinds of step: full and partial batches, training and validation */
  size_t rows;        /* on a GPU: the data set's rows, kept there where half of its free memory
                         holds them; else the buffers through which they are sent */
  size_t context;     /* on a GPU: what the driver and its libraries take; an estimate */
  size_t host;        /* the machine's memory: the data set's rows where they are not in a file,
                         the best weights, a checkpoint's copy */
  size_t total;       /* of the device's memory, which is the machine's, with host, for the CPU */
  bool estimated;     /* no GPU was asked */
} webml_training_memory;

/* The memory that webml_trainer_create() and a run with the same arguments will take, from the
 * device's own plans, before anything large is allocated; no picture is read. dataset NULL: of a
 * model that is shaped already, with full batches and as many samples to validate with as to train
 * on. device NULL: of some GPU, estimated from the types of the elements, with rows that are sent.
 * The data set itself, which the caller has opened, is not counted. Errors as
 * webml_trainer_create(). */
WEBML_API webml_status webml_trainer_memory(const webml_model *model, const webml_dataset *dataset,
                                            webml_device *device,
                                            const webml_train_options *options,
                                            webml_training_memory *memory);

/* Plans, allocates everything and sets the initial weights. Steps allocate nothing after it. The
 * model must fit the data set (webml_model_shape_to). WEBML_ERROR_MODEL, _DATA, _MEMORY,
 * _MISMATCH (checkpoint or weights of another model or other data; the message names it), _IO,
 * _UNSUPPORTED (webml_device_check). */
WEBML_API webml_status webml_trainer_create(const webml_model *model, const webml_dataset *dataset,
                                            webml_device *device,
                                            const webml_train_options *options,
                                            webml_trainer **trainer);
/* Trains to the end or to webml_trainer_stop(), then writes the weights file. WEBML_ERROR_CANCELLED
 * after webml_trainer_cancel() (the checkpoint is written), WEBML_ERROR_NOT_FINITE (the step is
 * named, the best weights so far are written), _IO. */
WEBML_API webml_status webml_trainer_run(webml_trainer *trainer);
/* A pause: the running step is finished and a checkpoint written, from which a training with
 * `resume` goes on to the same bits. Any thread, signal handlers too. */
WEBML_API void webml_trainer_cancel(webml_trainer *trainer);
/* An end before its time: the running step is finished, then the weights file gets the weights of
 * the best epoch (of this moment before the end of the first, or with keep_last), as after an early
 * stop. The checkpoint counts as finished, too. Any thread, signal handlers too. */
WEBML_API void webml_trainer_stop(webml_trainer *trainer);
/* {"history":{"loss":[...],...},"best_epoch","kept_epoch","stopped","seconds",...}: kept_epoch is
 * whose weights the file holds, null where they are not those of the end of an epoch; stopped: by
 * webml_trainer_stop(). Free with webml_free(). */
WEBML_API webml_status webml_trainer_record(const webml_trainer *trainer, char **json);
WEBML_API void webml_trainer_destroy(webml_trainer *trainer);

/* ---- tables and checks ---------------------------------------------------------------------- */

/* What a description and a training may say, as JSON, from the tables that they are checked
 * against:
 *   {"version",
 *    "model": [OPTION],            keys of a description
 *    "layers": [{"name","description","takes","options":[OPTION]}],
 *    "activations","initializers","regularizers","constraints","losses","optimizers","metrics":
 *        [{"name","description","aliases":[..],"options":[OPTION]}],
 *    "networks": [{"name","description","options":[OPTION]}],   of webml_model_named()
 *    "training": [OPTION], "augmentation": [OPTION], "data": [OPTION]}
 * where OPTION is {"name","type","description","required","nullable"} with "default", "minimum",
 * "maximum" or "exclusiveMaximum", "choices" and "suggested" where there are such. type: "integer",
 * "number", "boolean", "pair" (an integer or [height, width]), "integers" (an integer or a list),
 * "box" (an integer, [height, width] or [[top, bottom], [left, right]]), "span" (x for [-x, x], or
 * [least, greatest]), "numbers" (a number or a list), "choice", "string", "activation",
 * "initializer", "regularizer", "constraint", "value" (any JSON value: a key of a description).
 * Options of networks, trainings, augmentation and data sets also have "command_line", such as
 * "--batch-size", or null; enumerations are choices by name. Free with webml_free().
 * WEBML_ERROR_ARGUMENT, _MEMORY. Any thread. */
WEBML_API webml_status webml_schema(char **json);

/* How fast a device computes, as webml_model_check() takes it for its forecasts. */
typedef struct webml_speed {
  double convolution;       /* floating-point operations a second, of more than 8 channels */
  double first_convolution; /* the same, of pictures' 1 to 8 channels */
  double dense;             /* the same, of dense layers */
  double weights;           /* bytes a second that dense layers and the update move */
  double bytes;             /* the same of all other operations */
  double operation;         /* seconds that an operation takes before it does anything */
} webml_speed;

/* Measures it by training steps of six small networks, which takes about half a second; later calls
 * for the same device and precision return the same figures. Other programs that compute at the
 * same time lower them. WEBML_ERROR_ARGUMENT, _UNSUPPORTED (webml_device_check), _MEMORY, _DEVICE.
 * Any thread. */
WEBML_API webml_status webml_device_speed(webml_device *device, webml_precision precision,
                                          webml_speed *speed);

/* A device that webml_model_check() tells about. */
typedef struct webml_check_device {
  const char *name;         /* how it is named in the answer */
  webml_device *device;     /* its own plans are asked; NULL: a GPU that is not opened, estimated */
  const webml_speed *speed; /* NULL: no time is forecast */
  size_t available;         /* bytes of its memory that are free; 0: the device is asked */
} webml_check_device;

typedef struct webml_check_options {
  size_t struct_size;
  const char *properties; /* of the data set, as webml_dataset_properties() gives them; NULL: the
                             model is checked by itself */
  const webml_train_options *training; /* batch size, precision, ...; NULL: the defaults */
  int64_t samples, validation_samples; /* of an epoch; 0: those of the properties */
  const webml_check_device *devices;   /* [n_devices] or NULL */
  size_t n_devices;
} webml_check_options;

/* Checks a description that may be wrong anywhere, as it is typed, and reports all that can be
 * known about it. WEBML_OK also where it is wrong: *result says how. Options NULL: defaults.
 *   {"valid": no errors,
 *    "errors": [ISSUE], "warnings": [ISSUE],
 *    "name","input_shape","layers","parameters","trainable","flops","optimizer","loss":
 *        as webml_model_summary(); an output_shape is null where the type of the layer is unknown,
 *    "chosen": [what shaping to the data set chooses, a sentence each],
 *    "samples","validation_samples": of an epoch; null where they are not known,
 *    "devices": [{"device",
 *        "training": webml_training_memory, null where the model is not complete,
 *        "prediction": webml_memory of one row; null where the device was not opened,
 *        "available","fits","reason": fits is null where one of the two sizes is not known,
 *        "seconds_per_epoch": [low, high] or null}]}
 * ISSUE is {"path","line","text","cure"}: a JSON pointer into the text (RFC 6901), the line or
 * null, a sentence, and null or {"text","patch"}: what to do, and the same as a JSON patch (RFC
 * 6902) or null. Errors are what a training would refuse; warnings it takes, but they are likely
 * not meant. Two layers that do not fit are reported at the second.
 * The forecast: the operations and bytes of an epoch's steps, divided by the speed of the device;
 * the interval goes from half of that to twice it (docs/model.md). Reading data, writing
 * checkpoints and waiting for other programs are not part of it. A call takes below 5 ms for
 * networks of some million weights. WEBML_ERROR_ARGUMENT, _PARSE (the properties),
 * _MEMORY, _DEVICE. Any thread. */
WEBML_API webml_status webml_model_check(const char *json, size_t length,
                                         const webml_check_options *options, char **result);

/* ---- prediction ----------------------------------------------------------------------------- */

typedef enum webml_inference_precision {
  WEBML_INFERENCE_AUTO, /* int8 for quantized weights; else the training's, float32 where the device
                           cannot compute in it */
  WEBML_INFERENCE_FLOAT32,
  WEBML_INFERENCE_BFLOAT16, /* as WEBML_MIXED_BFLOAT16 in a training */
  WEBML_INFERENCE_INT8      /* quantized weights only (webml_quantize) */
} webml_inference_precision;

typedef struct webml_predictor_options {
  size_t struct_size;
  int64_t max_batch; /* the largest number of rows computed at once; 0: 64 */
  webml_inference_precision precision;
} webml_predictor_options;

/* Loads a weights file. Options NULL: defaults. WEBML_ERROR_IO, _PARSE, _MEMORY, _ARGUMENT;
 * _MISMATCH: int8 is asked for, and the weights are not quantized; _UNSUPPORTED: bfloat16 is asked
 * for, and the device does not compute in it. */
WEBML_API webml_status webml_predictor_create(const char *weights_path, webml_device *device,
                                              const webml_predictor_options *options,
                                              webml_predictor **predictor);
/* The same with `max_batch` and the other defaults. */
WEBML_API webml_status webml_predictor_load(const char *weights_path, webml_device *device,
                                            int64_t max_batch, webml_predictor **predictor);
WEBML_API void webml_predictor_destroy(webml_predictor *predictor);
/* "float32", "bfloat16" or "int8": what the device computes in. Quantized weights on a device that
 * does not multiply bytes are computed in float32, no slower than others. */
WEBML_API const char *webml_predictor_precision(const webml_predictor *predictor);
/* What a plan for predictions of so many rows at once takes on the device. WEBML_ERROR_MODEL: the
 * model has open sizes. */
WEBML_API webml_status webml_predictor_memory(const webml_model *model, webml_device *device,
                                              int64_t batch_size, webml_precision precision,
                                              webml_memory *memory);
/* Number of values of one input row and of one output row, after the pipeline. */
WEBML_API size_t webml_predictor_input_size(const webml_predictor *predictor);
WEBML_API size_t webml_predictor_output_size(const webml_predictor *predictor);
/* inputs: [n, input_size] float32, as the network sees them (images scaled by 1/255, tables through
 * the pipeline; whole numbers as such); outputs: [n, output_size]. Where the model has several, a
 * row holds them one after another (webml_model_inputs()). Allocates nothing. */
WEBML_API webml_status webml_predictor_run(webml_predictor *predictor, const float *inputs,
                                           int64_t n, float *outputs);
/* Images only. pixels: [n, height, width, channels] bytes. */
WEBML_API webml_status webml_predictor_run_pixels(webml_predictor *predictor, const uint8_t *pixels,
                                                  int64_t n, float *outputs);
/* One PNG or JPEG file; the answer is JSON: {"input","class","index","probability",
 * "top":[{"class","index","probability"}]}. */
WEBML_API webml_status webml_predictor_image(webml_predictor *predictor, const char *path,
                                             char **json);
/* One table row as a JSON object {"column": value, ...}; the answer has every output decoded to its
 * label or unit: {"outputs":{"column":value},"probabilities":{...}}; "scores" instead of
 * "probabilities" where the network does not end in softmax or sigmoid. */
WEBML_API webml_status webml_predictor_row(webml_predictor *predictor, const char *row_json,
                                           char **json);
typedef enum webml_part {
  WEBML_PART_AUTO, /* the validation part; all samples where there is none */
  WEBML_PART_TRAINING,
  WEBML_PART_VALIDATION,
  WEBML_PART_TEST
} webml_part;

typedef struct webml_evaluate_options {
  size_t struct_size;
  webml_part part;
  /* How many samples have been computed, now and then, and at the end. */
  void (*progress)(int64_t done, int64_t samples, void *user);
  double progress_seconds; /* least time between calls; 0: 0.1 */
  void *user;
} webml_evaluate_options;

/* Metrics and report over one part of a data set (opened with the options it was trained with):
 * {"part", "samples", "loss", "metrics", "confusion", "per_class"} (the last two up to 4,096
 * classes), for pictures also "mistakes": [{"picture","file","class","said","probability"}], the
 * surest first, at most 25; or {"outputs":[{"name","mae","rmse","r2"}]}, where of several outputs
 * one that is a class has {"name","accuracy"} instead. Options NULL: defaults. WEBML_ERROR_DATA
 * where the part is empty. */
WEBML_API webml_status webml_evaluate(webml_predictor *predictor, const webml_dataset *dataset,
                                      const webml_evaluate_options *options, char **json);
/* The same of `part` with the other defaults. */
WEBML_API webml_status webml_predictor_evaluate(webml_predictor *predictor,
                                                const webml_dataset *dataset, webml_part part,
                                                char **json);
/* The model of the weights file; lives as long as the predictor. */
WEBML_API const webml_model *webml_predictor_model(const webml_predictor *predictor);

/* ---- quantization --------------------------------------------------------------------------- */

/* How the range of a layer's input is found in the samples that calibrate. */
typedef enum webml_calibration {
  WEBML_CALIBRATION_PERCENTILE, /* this share of the values is in it: the rest is cut off */
  WEBML_CALIBRATION_MINMAX,     /* all are */
  WEBML_CALIBRATION_MSE         /* the one with the least mean square error after rounding */
} webml_calibration;

typedef struct webml_quantize_options {
  size_t struct_size;
  webml_calibration calibration;
  double percentile; /* of WEBML_CALIBRATION_PERCENTILE; 0: 99.99 */
  int64_t samples;   /* of the training part that calibrate, evenly spread; 0: 1,024 */
  /* The layers that cost most stay in float32 until no more is lost on the validation part than so
   * many points of accuracy or, where the outputs are numbers, percent of the loss; 0: 0.3 points
   * or 3 percent. */
  double max_drop;
  const char *keep; /* names with commas: layers that stay in float32; NULL: none */
} webml_quantize_options;

/* Post-training quantization: writes weights whose convolutions (but grouped ones) and dense layers
 * multiply in int8, with a scale per filter and one for each such layer's input: a quarter of the
 * size. The data set is opened with the options of the training. Options NULL: defaults. *report,
 * which may be NULL: {"calibration","samples","layers":[{"name","quantized","input_scale",
 * "error"}],"before","after","measured_in","bytes_before","bytes_after"}; error: how far the
 * network's outputs move when this layer alone is quantized, as a share of their norm; before and
 * after: webml_predictor_evaluate() of the validation part. Free with webml_free().
 * WEBML_ERROR_UNSUPPORTED: no layer can be quantized; also _IO, _PARSE, _DATA, _MISMATCH, _MEMORY,
 * _ARGUMENT, _DEVICE. */
WEBML_API webml_status webml_quantize(const char *weights_path, const webml_dataset *dataset,
                                      webml_device *device, const webml_quantize_options *options,
                                      const char *path, char **report);

/* ---- exports ----------------------------------------------------------------------------------
 */

/* Writes trained weights for other programs. format "onnx": one file, opset 13, input "input"
 * (bytes [N, height, width, channels] for images, float32 [N, features] after the pipeline for
 * tables), output "output"; "tfjs": a folder with a TensorFlow.js layers-model, whose image input
 * is 0..255. A layer whose name TensorFlow.js refuses is renamed there: "a b" is "a_b", or "a_b_1"
 * where another has that name. WEBML_ERROR_UNSUPPORTED names the layer that the format cannot
 * express; also _IO, _PARSE, _MEMORY, _ARGUMENT. */
WEBML_API webml_status webml_export(const char *weights_path, const char *format, const char *path);

#ifdef __cplusplus
}
#endif

#endif
