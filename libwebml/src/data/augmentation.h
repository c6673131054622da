/* From a caller's augmentation to the formula's (kernels/common/augment.h). */
#ifndef WML_DATA_AUGMENTATION_H
#define WML_DATA_AUGMENTATION_H

#include "base/status.h"

/* WEBML_ERROR_ARGUMENT names what is out of range. */
const struct wml_option *wml_augmentation_option_list(int *n);
webml_status wml_augmentation_check(const webml_augmentation *a);
wml_augment wml_augmentation_of(const webml_augmentation *a);

#endif
