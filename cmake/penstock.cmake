# Three functions, so that every CMakeLists.txt of the tree reads as a table of contents.
include_guard()
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

# What every target of ours is built with. -ffp-contract=off is part of the numeric contract
# (docs/numerics.md): an fma stands only where it is written.
add_library(pk_build INTERFACE)
target_include_directories(pk_build INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_features(pk_build INTERFACE c_std_11)
target_compile_definitions(pk_build INTERFACE _GNU_SOURCE PK_VERSION="${PROJECT_VERSION}")
target_compile_options(pk_build INTERFACE
    -Wall -Wextra -Wshadow -Wconversion -Werror -Wno-sign-conversion -ffp-contract=off -fno-strict-aliasing
    -fstack-protector-strong -fPIE)
target_link_options(pk_build INTERFACE -pie -Wl,-z,relro,-z,now)
target_link_libraries(pk_build INTERFACE Threads::Threads m)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
    target_compile_definitions(pk_build INTERFACE _FORTIFY_SOURCE=2)
endif()

# pk_package(NAME): an imported target pkg_NAME from pkg-config.
function(pk_package name)
    if(NOT TARGET PkgConfig::pkg_${name})
        pkg_check_modules(pkg_${name} REQUIRED IMPORTED_TARGET GLOBAL ${name})
    endif()
endfunction()

# pk_library(NAME SOURCES a.c b.c LINK libs…)
function(pk_library name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LINK;PACKAGES" ${ARGN})
    add_library(${name} STATIC ${ARG_SOURCES})
    target_link_libraries(${name} PUBLIC ${ARG_LINK} pk_build)
    foreach(package ${ARG_PACKAGES})
        pk_package(${package})
        target_link_libraries(${name} PRIVATE PkgConfig::pkg_${package})
    endforeach()
endfunction()

# pk_embed(TARGET FILE SYMBOL): `const char SYMBOL[]` in TARGET holds FILE and a NUL behind it.
function(pk_embed target file symbol)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    file(READ ${file} bytes HEX)
    string(REGEX REPLACE "(..)" "\\\\x\\1" bytes "${bytes}")
    file(GENERATE OUTPUT ${symbol}.c CONTENT "extern const char ${symbol}[];\nconst char ${symbol}[] = \"${bytes}\";\n")
    target_sources(${target} PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/${symbol}.c)
endfunction()

# pk_stage(NAME SOURCES … LINK …): the stage program libexec/penstock/penstock-NAME.
function(pk_stage name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
    add_executable(penstock-${name} ${ARG_SOURCES})
    target_link_libraries(penstock-${name} PRIVATE ${ARG_LINK} pk_build)
    set_target_properties(penstock-${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/libexec/penstock)
    install(TARGETS penstock-${name} DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/penstock)
endfunction()

# pk_test(NAME SOURCES … LINK …): a cmocka program, registered with ctest under its own name.
function(pk_test name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
    pk_package(cmocka)
    add_executable(${name} ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE ${ARG_LINK} PkgConfig::pkg_cmocka pk_build)
    target_compile_definitions(${name} PRIVATE PK_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77)
endfunction()
