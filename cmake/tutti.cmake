# How a folder of src/ becomes a library and a test.
include(GNUInstallDirs)

find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS json)
find_package(OpenSSL REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
if(TUTTI_TESTS)
  find_package(GTest REQUIRED)
endif()
find_package(PkgConfig REQUIRED)
pkg_check_modules(pcre2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(utf8proc REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(hwloc REQUIRED IMPORTED_TARGET hwloc)

# Flags of every target. No contraction of a*b+c into a fused multiply-add behind our back, and no
# reordering of sums: the bits of a result are part of the interface (DESIGN.md, section 6).
add_library(tutti_flags INTERFACE)
target_compile_options(
  tutti_flags INTERFACE -Wall -Wextra -Werror -Wno-psabi -Wno-missing-field-initializers -ffp-contract=off -fno-omit-frame-pointer)
target_include_directories(tutti_flags INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR})
target_compile_definitions(
  tutti_flags INTERFACE TUTTI_VERSION="${PROJECT_VERSION}" BOOST_ASIO_NO_DEPRECATED
                        BOOST_BEAST_USE_STD_STRING_VIEW)
target_link_libraries(tutti_flags INTERFACE Threads::Threads Boost::headers Boost::json fmt::fmt
                                            spdlog::spdlog)
if(TUTTI_SANITIZE)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Instrumentation makes GCC warn of what is not there (its manual says so under -fsanitize).
    target_compile_options(
      tutti_flags INTERFACE -Wno-tsan -Wno-maybe-uninitialized -Wno-stringop-overflow -Wno-array-bounds
                            -Wno-restrict -Wno-mismatched-new-delete)
  endif()
  target_compile_options(tutti_flags INTERFACE -fsanitize=${TUTTI_SANITIZE})
  target_link_options(tutti_flags INTERFACE -fsanitize=${TUTTI_SANITIZE})
  if(TUTTI_SANITIZE MATCHES "undefined")
    target_compile_options(tutti_flags INTERFACE -fno-sanitize-recover=undefined)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND TUTTI_SANITIZE MATCHES "address")
      # Checks at every access that stop at what AddressSanitizer stops at anyway: a third of the
      # time to compile. The fuzzers' build (Clang) has them all.
      target_compile_options(
        tutti_flags INTERFACE -fno-sanitize=null,object-size,vptr,pointer-overflow)
    endif()
  endif()
endif()

# The same tests run in several builds; the prefix tells them apart in one ctest run. Under
# ThreadSanitizer only the folders where threads meet are tested.
set(TUTTI_THREADED_FOLDERS base engine device server)
set(TUTTI_TEST_PREFIX "")
set(TUTTI_THREADED_ONLY OFF)
if(TUTTI_FUZZ)
  set(TUTTI_TEST_PREFIX "fuzz.")
elseif(TUTTI_SANITIZE MATCHES "thread")
  set(TUTTI_TEST_PREFIX "tsan.")
  set(TUTTI_THREADED_ONLY ON)
elseif(TUTTI_SANITIZE MATCHES "address")
  set(TUTTI_TEST_PREFIX "asan.")
endif()
add_custom_target(unit_tests)
add_custom_target(threaded_tests)

if(TUTTI_FUZZ)
  # Coverage feedback in every library; tests/fuzz links libFuzzer's main.
  target_compile_options(tutti_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# Instrumented builds are made from nothing in CI, where reading headers is most of the time: the
# folders with the heaviest ones are compiled eight files at a time. So names in unnamed namespaces
# differ within these folders.
set(TUTTI_UNITY_FOLDERS text formats dialects store server app)

# One precompiled header for all: standard headers and Boost.JSON.
add_library(tutti_pch OBJECT ${CMAKE_SOURCE_DIR}/cmake/pch.cc)
target_link_libraries(tutti_pch PUBLIC tutti_flags)
target_precompile_headers(tutti_pch PRIVATE ${CMAKE_SOURCE_DIR}/cmake/pch.h)

# tutti_unity(<target>): see TUTTI_UNITY_FOLDERS.
function(tutti_unity target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC takes a file that is included for a header.
    target_compile_options(${target} PRIVATE -Wno-subobject-linkage)
  endif()
endfunction()

# tutti_library(<folder> DEPS <libraries>... [SUBFOLDERS <names>...])
# Every *.cc of the folder and its named subfolders that is not a test or a main goes into the library tutti_<folder>;
# every *_test.cc goes into the executable <folder>_test, one ctest entry for each test suite file.
function(tutti_library name)
  cmake_parse_arguments(arg "" "" "DEPS;TEST_DEPS;EXTRA_SOURCES;SUBFOLDERS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  foreach(subfolder ${arg_SUBFOLDERS})
    file(GLOB more CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${subfolder}/*.cc)
    list(APPEND sources ${more})
  endforeach()
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "(_test|main)\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(APPEND sources ${arg_EXTRA_SOURCES})
  if(sources)
    add_library(tutti_${name} STATIC ${sources})
    target_link_libraries(tutti_${name} PUBLIC tutti_flags ${arg_DEPS})
    target_precompile_headers(tutti_${name} REUSE_FROM tutti_pch)
    if(TUTTI_SANITIZE AND name IN_LIST TUTTI_UNITY_FOLDERS)
      tutti_unity(tutti_${name})
    endif()
  else()
    add_library(tutti_${name} INTERFACE)
    target_link_libraries(tutti_${name} INTERFACE tutti_flags ${arg_DEPS})
  endif()
  if(TUTTI_TESTS AND tests AND NOT TUTTI_FUZZ AND (NOT TUTTI_THREADED_ONLY OR name IN_LIST
                                                    TUTTI_THREADED_FOLDERS))
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE tutti_${name} tutti_test_support ${arg_TEST_DEPS}
                                               GTest::gtest GTest::gmock GTest::gtest_main)
    target_precompile_headers(${name}_test REUSE_FROM tutti_pch)
    if(TUTTI_SANITIZE AND name IN_LIST TUTTI_UNITY_FOLDERS)
      tutti_unity(${name}_test)
    endif()
    tutti_unit_test(${name} ${name}_test)
  endif()
endfunction()

# tutti_unit_test(<name> <executable>): a ctest entry, and a part of unit_tests and threaded_tests.
function(tutti_unit_test name executable)
  set(filter)
  if(TUTTI_SANITIZE)
    # Minutes of real kernels, which kernels_test and device_test run under sanitizers.
    set(filter --gtest_filter=-Promise1*)
  endif()
  add_test(NAME ${TUTTI_TEST_PREFIX}unit.${name} COMMAND ${executable} --gtest_brief=1 ${filter})
  set_tests_properties(${TUTTI_TEST_PREFIX}unit.${name} PROPERTIES LABELS "unit;quick" TIMEOUT 900)
  add_dependencies(unit_tests ${executable})
  if(name IN_LIST TUTTI_THREADED_FOLDERS)
    add_dependencies(threaded_tests ${executable})
  endif()
endfunction()
