#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A GGUF file, version 2 or 3, validated when it is opened; of a split model any part opens the whole.
///
/// Source: the GGUF specification in ggml-org/ggml, `docs/gguf.md`; splitting: `gguf-split` in ggml-org/llama.cpp.
public final class GGUFFile: Sendable {
  /// The path that was opened.
  public let path: String
  /// All files of the model, in the order of its parts; one for a model that is not split.
  public let parts: [String]
  /// Metadata; of the first part when the model is split.
  public let metadata: [String: GGUFValue]
  public let metadataKeys: [String]
  /// Tensors of all parts.
  public let tensors: [GGUFTensor]
  private let places: [String: Int]

  /// Whether the file at `path` begins as a GGUF file does. Reads four bytes; waits for no pipe.
  public static func isGGUF(_ path: String) -> Bool {
    let descriptor = System.retrying { open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return false }
    var magic = [UInt8](repeating: 0, count: 4)
    return pread(descriptor, &magic, 4, 0) == 4 && magic.elementsEqual("GGUF".utf8)
  }

  public init(path: String) throws {
    self.path = path
    let opened = try GGUFPart(path: path)
    let parts = try GGUFSplit.parts(of: opened)
    self.parts = parts.map(\.file.path)
    metadata = parts[0].metadata
    metadataKeys = parts[0].metadataKeys
    tensors = parts.flatMap(\.tensors)
    var places: [String: Int] = [:]
    for (index, tensor) in tensors.enumerated() {
      if let other = places.updateValue(index, forKey: tensor.name) {
        throw GGUFError.badValue(
          file: tensor.path, place: "tensor \(tensor.name)", reason: "is in \(tensors[other].path) as well")
      }
    }
    self.places = places
  }

  public func tensor(_ name: String) -> GGUFTensor? { places[name].map { tensors[$0] } }

  /// Floats of some rows of a tensor, `[rows.count, columns]`.
  public func dequantize(_ tensor: GGUFTensor, rows: Range<Int>, into target: UnsafeMutableBufferPointer<Float>) {
    let rowBytes = tensor.type.byteCount(elements: tensor.columns)
    precondition(
      rows.lowerBound >= 0 && rows.upperBound <= tensor.rows && target.count >= rows.count * tensor.columns,
      "rows in bounds")
    let bytes = UnsafeRawBufferPointer(
      rebasing: tensor.bytes[rows.lowerBound * rowBytes..<rows.upperBound * rowBytes])
    tensor.type.dequantize(bytes, into: UnsafeMutableBufferPointer(rebasing: target[0..<rows.count * tensor.columns]))
  }

  /// Drops the pages of a tensor that has been read.
  public func dropPages(of tensor: GGUFTensor) {
    tensor.file.dropPages(offset: tensor.byteOffset, count: tensor.byteCount)
  }
}
