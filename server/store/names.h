/* Names that people read: of accounts, models, data sets. */
#ifndef SERVER_STORE_NAMES_H
#define SERVER_STORE_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/* Whether the text can be a name: UTF-8 of letters and digits, " ", ".", "_" and "-", neither blank
 * nor dot at its ends, no two blanks in a row, and letters of one script (Japanese and Korean mix
 * theirs). What nobody can see or that turns the direction of writing is no letter, nor are wide
 * and ornamental forms of letters, nor accents that stand alone. NULL: it can; else a sentence that
 * begins behind the name of the field: "may have ...". */
const char *name_problem(const char *text);

/* What names that look alike have in common: lower case, with letters of other scripts that look
 * like Latin ones as those, "0" as "o", "1" as "l", marks between words left out. After Unicode's
 * UTS #39, 4 (confusable detection), for the scripts that names may have. */
enum { NAME_SKELETON = 512 };
void name_skeleton(const char *text, char out[NAME_SKELETON]);

#endif
