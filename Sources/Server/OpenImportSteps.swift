import Blobs
import Conversion
import Core
import Logging

/// The plugins of imports, with what they need of this machine.
enum OpenImportSteps {
    /// What is done to imported bytes, in this order.
    /// - Throws: `StartProblem`.
    static func steps(
        _ settings: ImageSettings, scratch: String, _ process: Application.Process
    ) throws -> [any ImportStep] {
        let plugins = settings.imports.plugins
        var converter: QemuImg?
        if plugins.order.contains(.conversion) {
            guard let path = QemuImg.installedPath else {
                throw StartProblem(
                    "image.import.plugins: image_conversion needs qemu-img, which is not installed; install qemu-utils")
            }
            do {
                try QemuImg.prepare(scratch: scratch)
            } catch {
                throw StartProblem("data_dir: \(error)")
            }
            if !QemuImg.isConfinedToItsFiles {
                process.logger.warning("the kernel has no Landlock: qemu-img is kept from files by inspection alone")
            }
            // Two conversions at once: each may take a gibibyte of memory and a processor.
            converter = QemuImg(
                path: path, scratch: scratch, work: process.surroundings.work,
                threads: ThreadWorkPool(threadCount: 2))
        }
        return plugins.steps(
            converter: converter, work: process.surroundings.work, formats: settings.formats,
            sizeCapBytes: settings.sizeCapBytes)
    }
}
