# libwebml-cuda.so, the CUDA back end as a module that the library opens at run time; and the same
# back end over an emulation of the CUDA runtime, for tests on machines without a GPU.
#
# Machine code for compute capability 7.5 (the least that CUDA 13 knows), 8.0, 8.6, 8.9 and 9.0, and
# PTX for what comes after. The runtime is linked statically; cuDNN and cuBLASLt are opened by the
# module itself when a device is.
file(GLOB cuda_sources CONFIGURE_DEPENDS kernels/cuda/*.c kernels/cuda/*.cu)
set(cuda_kernels ${cuda_sources})
list(FILTER cuda_kernels INCLUDE REGEX "\\.cu$")
set(cuda_own ${cuda_sources})
list(FILTER cuda_own EXCLUDE REGEX "/(cudnn|cublas)[a-z_]*\\.c$") # what the emulation has no vendor for

set(webml_build_cuda OFF)
if(NOT WEBML_CUDA STREQUAL "OFF" AND NOT WEBML_SANITIZE)
  find_program(NVCC NAMES nvcc PATHS /usr/local/cuda/bin)
  if(NVCC)
    get_filename_component(cuda_prefix ${NVCC} DIRECTORY)
    find_path(CUDNN_INCLUDE cudnn.h PATHS ${cuda_prefix}/../include)
  endif()
  if(NVCC AND CUDNN_INCLUDE)
    set(webml_build_cuda ON)
  elseif(WEBML_CUDA STREQUAL "ON")
    message(FATAL_ERROR "WEBML_CUDA=ON needs nvcc and cudnn.h")
  endif()
endif()

if(webml_build_cuda)
  set(CMAKE_CUDA_COMPILER ${NVCC})
  set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 86-real 89-real 90)
  enable_language(CUDA)
  set(CMAKE_CUDA_STANDARD 20)
  add_library(kernels-cuda OBJECT ${cuda_sources})
  set_target_properties(kernels-cuda PROPERTIES CUDA_VISIBILITY_PRESET hidden)
  target_include_directories(kernels-cuda SYSTEM PRIVATE ${CUDNN_INCLUDE} ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
  target_compile_options(kernels-cuda PRIVATE
    "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wno-missing-field-initializers;--expt-relaxed-constexpr;-lineinfo>")
  if(WEBML_WERROR)
    target_compile_options(kernels-cuda PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>")
  endif()
  add_library(webml-cuda MODULE $<TARGET_OBJECTS:kernels-cuda>)
  set_target_properties(webml-cuda PROPERTIES CUDA_RUNTIME_LIBRARY Static LINKER_LANGUAGE CUDA)
  target_link_libraries(webml-cuda PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
  # A module that lacks a symbol must not link: it would fail on the user's machine.
  target_link_options(webml-cuda PRIVATE LINKER:--no-undefined)
endif()

if(WEBML_TESTS)
  enable_language(CXX)
  set(CMAKE_CXX_STANDARD 20)
  file(GLOB emulation_sources CONFIGURE_DEPENDS kernels/cuda/emulation/*.c kernels/cuda/emulation/*.cc)
  list(FILTER emulation_sources EXCLUDE REGEX "/module.c$")
  set(emulated_kernels)
  foreach(kernel ${cuda_kernels}) # one source, two languages: the C++ compiler gets a file that includes it
    get_filename_component(name ${kernel} NAME_WE)
    file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/emulation/${name}.cc CONTENT "#include \"${kernel}\"\n")
    list(APPEND emulated_kernels ${CMAKE_BINARY_DIR}/emulation/${name}.cc)
  endforeach()
  set(cuda_c ${cuda_own})
  list(FILTER cuda_c INCLUDE REGEX "\\.c$")
  add_library(kernels-cuda-emulated STATIC ${cuda_c} ${emulation_sources} ${emulated_kernels})
  target_include_directories(kernels-cuda-emulated BEFORE PUBLIC kernels/cuda/emulation)
  target_link_libraries(kernels-cuda-emulated PUBLIC Threads::Threads)
  # As a module too, so that whole programs can be run over it.
  add_library(webml-cuda-emulated MODULE kernels/cuda/emulation/module.c)
  target_link_libraries(webml-cuda-emulated PRIVATE
    -Wl,--whole-archive kernels-cuda-emulated -Wl,--no-whole-archive)
  set_target_properties(webml-cuda-emulated PROPERTIES LINKER_LANGUAGE CXX)
endif()
