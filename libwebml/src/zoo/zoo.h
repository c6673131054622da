/* Ready-made networks: well-known architectures as descriptions of any size. A family is one file,
 * a network one line in zoo.c. */
#ifndef WML_ZOO_ZOO_H
#define WML_ZOO_ZOO_H

#include "base/options.h"
#include "base/text.h"

typedef struct wml_network wml_network;

/* What a description is written from: the options, with the network's own values filled in. */
typedef struct wml_zoo_plan {
  const wml_network *network;
  int64_t size[3]; /* height, width, channels; of a table the features first; 0: open */
  webml_named_options options;
} wml_zoo_plan;

struct wml_network {
  const char *name, *about;
  int64_t size[3]; /* height, width, channels unless others are asked for; all 0: of tables */
  int64_t least;   /* height and width */
  bool halves;     /* height and width are halved `depth` times and doubled as often */
  /* What the options of these names stand for where they are 0; 0 here: there is no such option. */
  double alpha;
  int64_t filters, units, depth;
  /* Writes the blocks and the list of layers with the functions below. */
  void (*write)(wml_text *text, const wml_zoo_plan *plan);
};

extern const wml_network wml_networks[];
extern const int wml_n_networks;

/* The options of a network with its own defaults. */
enum { WML_ZOO_OPTIONS = 6 };
int wml_network_options(const wml_network *network, wml_option out[WML_ZOO_OPTIONS]);

/* ---- writing ---- */

/* JSON as it reads, without escapes; it may have printf's %d and %s. */
#define JSON(...) #__VA_ARGS__

/* A block: its options, then its layers, then NULL. */
void wml_zoo_block(wml_text *text, const char *name, const char *const *block);
/* After the last block: the list of layers begins. */
void wml_zoo_layers(wml_text *text);
/* Adds a layer, as printf. */
void wml_zoo_add(wml_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Adds layers up to NULL. */
void wml_zoo_add_all(wml_text *text, const char *const *layers);
/* Adds the last Dense: softmax of the classes, sigmoid of one; nothing where a table leaves them
 * open, since numbers may be wanted. `initializer`: JSON; NULL: Dense's own. */
void wml_zoo_classify(wml_text *text, const wml_zoo_plan *plan, const char *name,
                      const char *initializer);

void wml_zoo_resnet18(wml_text *text, const wml_zoo_plan *plan);
void wml_zoo_resnet34(wml_text *text, const wml_zoo_plan *plan);
void wml_zoo_resnet50(wml_text *text, const wml_zoo_plan *plan);
void wml_zoo_cnn(wml_text *text, const wml_zoo_plan *plan);
void wml_zoo_vgg16(wml_text *text, const wml_zoo_plan *plan);
void wml_zoo_vgg_small(wml_text *text, const wml_zoo_plan *plan);
void wml_zoo_mobilenet_v2(wml_text *text, const wml_zoo_plan *plan);
void wml_zoo_efficientnet_b0(wml_text *text, const wml_zoo_plan *plan);
void wml_zoo_unet(wml_text *text, const wml_zoo_plan *plan);
void wml_zoo_mlp(wml_text *text, const wml_zoo_plan *plan);
void wml_zoo_residual_mlp(wml_text *text, const wml_zoo_plan *plan);

#endif
