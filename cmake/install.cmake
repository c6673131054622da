# cmake --install, a CMake package (find_package(webml)) and pkg-config (webml.pc).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS webml-shared EXPORT webml-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES $<TARGET_FILE:webml-static> DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET webml-cuda)
  install(TARGETS webml-cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(FILES libwebml/include/webml.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET webml)
  install(TARGETS webml RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
if(TARGET webml-server)
  install(TARGETS webml-server webml-confined RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(FILES docs/webml-server.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES docs/webml-server.service DESTINATION ${CMAKE_INSTALL_DATADIR}/webml)
endif()
if(EXISTS ${CMAKE_SOURCE_DIR}/docs/webml.1)
  install(FILES docs/webml.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endif()

install(EXPORT webml-targets NAMESPACE webml:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/webml)
configure_package_config_file(cmake/webml-config.cmake.in ${CMAKE_BINARY_DIR}/webml-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/webml)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/webml-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/webml-config.cmake ${CMAKE_BINARY_DIR}/webml-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/webml)

# The .pc file finds its prefix from where it lies: `cmake --install --prefix` may choose any.
file(RELATIVE_PATH pc_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/webml.pc.in ${CMAKE_BINARY_DIR}/webml.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/webml.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
