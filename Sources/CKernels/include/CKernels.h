// What Swift sees of the kernels. README.md beside this folder maps which file holds what.
#include "ceilings.h"
#include "float_kernels.h"
#include "hints.h"
#include "int8_kernels.h"
