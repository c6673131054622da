/* From a table to what a network is fed with: selection of columns, split, fit, encoding. */
#ifndef WML_DATA_TABLE_SAMPLES_H
#define WML_DATA_TABLE_SAMPLES_H

#include "data/pipeline.h"
#include "data/split.h"

typedef enum wml_missing_choice {
  WML_CHOOSE_REFUSE,
  WML_CHOOSE_MEAN, /* labels: the most frequent */
  WML_CHOOSE_MEDIAN,
  WML_CHOOSE_MOST_FREQUENT,
  WML_CHOOSE_CATEGORY,
  WML_CHOOSE_DROP, /* the row is left out */
  WML_N_MISSING_CHOICES
} wml_missing_choice;

/* Columns of a table by index, and what was chosen for them. */
typedef struct wml_selection {
  int n_inputs, n_outputs;
  int *inputs, *outputs; /* [n] */
  bool *one_hot;         /* [columns] */
  bool *index;           /* [columns] read as whole numbers: the place of the value */
  uint8_t *missing;      /* [columns] wml_missing_choice */
  uint8_t *scale;        /* [columns] wml_encoding */
} wml_selection;

/* The part of each row. */
typedef struct wml_row_split {
  uint8_t *parts; /* [rows], or NULL: all of them in part `only` */
  int only;
  int64_t n[WML_N_PARTS];
  int64_t *before[WML_N_PARTS]; /* [blocks + 1] rows of the part before each block */
} wml_row_split;

/* Drops rows, then splits the others; all go into `only` where nothing is split off. */
webml_status wml_table_split(const wml_table *table, const wml_selection *selection,
                             const wml_split_options *options, int only, wml_row_split *split);
void wml_row_split_free(wml_row_split *split);
static inline int wml_row_part(const wml_row_split *s, int64_t row) {
  return s->parts ? s->parts[row] : s->only;
}

/* What the training rows of one column are like. */
typedef struct wml_facts {
  int64_t n, missing, first_missing; /* rows with and without a value; 0-based row, -1 */
  double mean, variance, min, max;   /* of numbers; population variance */
  int64_t n_values;                  /* different ones, where they were asked for */
  double *values;                    /* [n_values] rising: numbers, or indices of labels */
  int64_t *counts;                   /* [n_values] */
} wml_facts;

/* values: whether different values are counted, per column; more than `limit` are an error. */
webml_status wml_table_facts(const wml_table *table, const wml_row_split *split, const int *columns,
                             const bool *values, int n, int64_t limit, wml_facts *facts);
void wml_facts_free(wml_facts *facts, int n);
/* The middle of the training rows' numbers, or the mean of the two in the middle. */
webml_status wml_table_median(const wml_table *table, const wml_row_split *split, int column,
                              const wml_facts *facts, double *median);

webml_status wml_pipeline_fit(const wml_table *table, const wml_selection *selection,
                              const wml_row_split *split, wml_pipeline *p);

#endif
