# The files of kernels/cpu for 64-bit ARM; those that need more than ARMv8.0 have their own flags.
set(neon_folder ${CMAKE_CURRENT_LIST_DIR}/cpu)
set(neon_sources ${neon_folder}/kernels_neon.cc)
foreach(class int8 q8)
  list(APPEND neon_sources ${neon_folder}/${class}_neon.cc ${neon_folder}/${class}_neon_dot.cc
       ${neon_folder}/${class}_neon_i8mm.cc)
  set_source_files_properties(${neon_folder}/${class}_neon_dot.cc
                              PROPERTIES COMPILE_OPTIONS "-march=armv8.2-a+dotprod")
  set_source_files_properties(${neon_folder}/${class}_neon_i8mm.cc
                              PROPERTIES COMPILE_OPTIONS "-march=armv8.2-a+dotprod+i8mm")
endforeach()
