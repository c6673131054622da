/* A look at every picture: what is broken, sizes, colour modes, copies. */
#ifndef WML_DATA_IMAGES_SURVEY_H
#define WML_DATA_IMAGES_SURVEY_H

#include "base/text.h"
#include "data/images/pictures.h"

enum { WML_SURVEY_BROKEN = 20, WML_SURVEY_MODES = 12 };

typedef struct wml_survey {
  int64_t n_broken;
  int64_t broken[WML_SURVEY_BROKEN]; /* the first ones */
  char why[WML_SURVEY_BROKEN][200];
  int least[2], greatest[2], middle[2]; /* width, height; the medians of each */
  int n_modes;
  const char *modes[WML_SURVEY_MODES];
  int64_t mode_counts[WML_SURVEY_MODES];
  int64_t turned;                /* EXIF says they should be turned */
  int64_t copies, shared_copies; /* same bytes as an earlier one; of another part */
  int64_t mislabelled;           /* same bytes as one of another class */
} wml_survey;

/* Decodes all, by several threads. Not for IDX files, which have nothing to look at. */
webml_status wml_pictures_survey(const wml_pictures *p, wml_survey *survey);
/* survey NULL: what is known without opening the pictures. */
void wml_pictures_write_properties(wml_text *text, const wml_pictures *p, const wml_survey *survey);

#endif
