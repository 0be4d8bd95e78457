import Formats
import Foundation
import Quantization
import Testing

@Suite struct CodecTests {
  @Test(arguments: ["f16", "bf16", "f32"])
  func nf4CodesAndMaximaAreThoseOfBitsandbytes(type: String) throws {
    let file = try SafetensorsFile(path: "\(golden)/nf4.safetensors")
    let input = try #require(file.tensor("\(type).input")).floats()
    var packed = [UInt8](repeating: 0, count: input.count / 2)
    var absmax = [Float](repeating: 0, count: input.count / NF4Codec.blockSize)
    input.withUnsafeBufferPointer { input in
      packed.withUnsafeMutableBufferPointer { packed in
        absmax.withUnsafeMutableBufferPointer { NF4Codec.quantize(input, packed: packed, absmax: $0) }
      }
    }
    #expect(packed == file.tensor("\(type).packed").map(bytes))
    #expect(absmax == file.tensor("\(type).absmax")?.floats())
  }

  @Test(arguments: [1, 7, 255, 256, 257, 700])
  func doubleQuantisationIsThatOfBitsandbytes(count: Int) throws {
    let file = try SafetensorsFile(path: "\(golden)/nested.safetensors")
    let nested = NestedAbsmax(try #require(file.tensor("\(count).input")).floats())
    #expect([nested.offset] == file.tensor("\(count).offset")?.floats())
    #expect(nested.absmax == file.tensor("\(count).absmax")?.floats())
    #expect(nested.codes == file.tensor("\(count).codes").map(bytes))
  }

  @Test(arguments: [9999, 33333, 100_000])
  func theMeanAddsInPyTorchsOrder(count: Int) throws {
    let file = try SafetensorsFile(path: "\(golden)/nested.safetensors")
    let values = (0..<UInt64(count)).map { index -> Float in
      let bits: UInt64 = (index + 5_000_015) * 2_654_435_761 & 0xFFFF_FFFF
      return Float(bits >> 8) / 16_777_216
    }
    #expect([NestedAbsmax.mean(values)] == file.tensor("\(count).mean")?.floats())
  }

  @Test func int8CodesAreTheNearestOnesAndReachTheEnds() {
    let input: [Float] = [0, 1.27, -1.27, 0.014, -0.016, 0.635]
    var codes = [Int8](repeating: 99, count: input.count)
    let scale = input.withUnsafeBufferPointer { input in
      codes.withUnsafeMutableBufferPointer { Int8Codec.quantize(input, codes: $0) }
    }
    #expect(abs(scale - 0.01) < 1e-8)
    #expect(codes == [0, 127, -127, 1, -2, 64] || codes == [0, 127, -127, 1, -2, 63])
  }

  @Test func aRowOfZerosHasScaleZeroAndCodesZero() {
    let input = [Float](repeating: 0, count: 32)
    var codes = [Int8](repeating: 99, count: 32)
    let scales = input.withUnsafeBufferPointer { input in
      codes.withUnsafeMutableBufferPointer {
        (Int8Codec.quantize(input, codes: $0), Int4Codec.quantize(input, codes: $0))
      }
    }
    #expect(scales.0 == 0 && scales.1 == 0)
    #expect(codes.allSatisfy { $0 == 0 })
  }

  @Test func int4IsAtLeastAsGoodAsScalingTheLargestElementToTheEnd() {
    let input = (0..<64).map { index -> Float in
      let factor: Float = index == 9 ? 1.6 : 0.5
      return Float(sin(Double(index * index))) * factor
    }
    var codes = [Int8](repeating: 0, count: 64)
    let bits = input.withUnsafeBufferPointer { input in
      codes.withUnsafeMutableBufferPointer { Int4Codec.quantize(input, codes: $0) }
    }
    func error(_ scale: Float, _ codes: [Float]) -> Float {
      zip(input, codes).reduce(0) { $0 + ($1.0 - $1.1 * scale) * ($1.0 - $1.1 * scale) }
    }
    let plain = (input.map { abs($0) }.max() ?? 0) / 7.5
    let plainCodes = input.map { max(-8, min(7, ($0 / plain).rounded(.toNearestOrEven))) }
    #expect(codes.allSatisfy { (-8...7).contains($0) })
    #expect(error(HalfPrecision.float(bits), codes.map { Float($0) }) <= error(plain, plainCodes) * 1.001)
  }
}
