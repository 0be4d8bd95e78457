import Architectures
import Formats
import FoundationEssentials

extension WeightStore {
  /// What the names of a quantised weight's parts add to its own.
  private static let partEndings = ["", "_scale", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"]

  /// Reads the weights that the model uses, and refuses those of which a number is infinite or none: a single one makes
  /// every loss such a number. A folder with checksums is not read: who wrote them has looked.
  ///
  /// It is one more pass over the file, of which every step of training that leaves weights in the file makes two.
  public func checkFinite() throws {
    if FileManager.default.fileExists(atPath: "\(directory)/\(FolderChecksums.fileName)") { return }
    for wanted in description.tensors {
      for tensor in parts(of: wanted) {
        guard let place = tensor.firstNotFinite(piece: { _ in }) else { continue }
        throw Invalid(
          directory: tensor.file.path,
          reason: "tensor \(tensor.name): element \(place) of \(tensor.elementCount) is not finite; `edge-lora verify "
            + "\(directory)` lists all of them. Copy or download the model again")
      }
    }
  }

  /// The tensors of floats that hold a weight.
  private func parts(of wanted: TensorDescription) -> [StoredTensor] {
    let name = names.stored(wanted.name)
    return Self.partEndings.compactMap { checkpoint.tensor(name + $0) }
  }
}
