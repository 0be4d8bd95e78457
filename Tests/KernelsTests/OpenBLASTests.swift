import Foundation
import Kernels
import Testing

struct OpenBLASTests {
  @Test func theLibraryThatDebianInstallsIsUsable() throws {
    _ = try OpenBLAS(OpenBLAS.fileName)
    try ReferenceProduct.prepare()
  }

  @Test func aMissingLibraryIsAnErrorThatNamesThePackage() {
    let error = #expect(throws: OpenBLAS.Failure.self) { _ = try OpenBLAS("libnothing-of-this-name.so.0") }
    let text = error?.description ?? ""
    #expect(text.contains("libnothing-of-this-name.so.0") && text.contains("apt install libopenblas0"))
  }

  @Test func aFileThatIsNoLibraryIsAnError() throws {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).so")
    defer { try? FileManager.default.removeItem(at: file) }
    try Data("no library".utf8).write(to: file)
    let error = #expect(throws: OpenBLAS.Failure.self) { _ = try OpenBLAS(file.path) }
    #expect(error?.description.contains("cannot be loaded") == true)
  }

  @Test func aLibraryWithoutTheProductIsAnError() {
    let error = #expect(throws: OpenBLAS.Failure.self) { _ = try OpenBLAS("libz.so.1") }
    #expect(error?.description.contains("lacks cblas_sgemm") == true)
  }
}
